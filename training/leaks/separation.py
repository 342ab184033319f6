"""Separation: no machine on both sides, in the splits, in the feature tables, and in what the models are given."""

from __future__ import annotations

import numpy as np

from data.splits import Splits
from training import predictions
from training.dataset import TEST, Dataset, Part
from training.leaks.errors import LeakError


def require(dataset: Dataset, splits: Splits) -> None:
    """Raise `LeakError` where a row is not in the fold of its machine, or a model would be asked about a machine that
    it learned from. What the models are given is asked of `predictions.predict_all`, through which all of them learn.
    """
    fleet, rows = dataset.fleet, dataset.rows
    wanted = rows.asset.map({asset: TEST if part == "test" else int(part) for asset, part in splits.machines.items()})
    wrong = rows[~(wanted == rows.fold)]
    if len(wrong):
        asset = wrong.asset.iloc[0]
        raise LeakError(
            f"{fleet}: all rows of a machine are in the part that splits.json gives it, but some of {asset} are in "
            f"fold {wrong.fold.iloc[0]} instead of {splits.machines.get(asset, 'none')!r}: look at label_rows in "
            "training/feature_table.py, then run `dvc repro`"
        )
    asset = rows.asset.to_numpy()

    def witness(part: Part, fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        both = sorted(set(asset[fitted]) & set(asset[asked]))
        tested = sorted(set(asset[fitted]) & set(splits.test))
        if both or tested:
            raise LeakError(
                f"{fleet}: a model must not learn from machines it is asked about, nor from test machines, but that of "
                f"{part.folder.name} is given {', '.join((both + tested)[:3])}: look at training/predictions.py"
            )
        return {"asked": np.ones(len(asked), np.float32)}

    said = predictions.predict_all(dataset, witness)
    if said.asked.isna().any():
        left = rows.asset[said.asked.isna()].iloc[0]
        raise LeakError(
            f"{fleet}: every row is predicted by a model that did not see its machine, but none was asked about "
            f"{left}: look at training/predictions.py"
        )
