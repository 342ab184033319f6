"""Prognoses from what the models themselves said, without the graph: what export must reproduce and figures judge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from data.asset_class import AssetClass
from training.calibrate import calibrate
from training.calibration import RUL_MODELS, Calibration
from training.params import PrognosisParams
from training.prognosis import Said, prognose


def native(asset_class: AssetClass, calibration: Calibration, rows: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """The prognosis of each row from what the models themselves said: `said` has lstm, the heads and score."""

    def column(name: str) -> np.ndarray:
        return said[name].to_numpy(np.float32)[:, None]

    heads = list(calibration.heads)
    by_head = {head: column(head) for head in heads}
    only = by_head[heads[0]]
    path = -np.log2(said.score.to_numpy(np.float64)).astype(np.float32)[:, None]
    models = Said(column("lstm"), by_head.get("aged", only), by_head.get("free", only), path)
    since_new = rows.since_new.to_numpy(np.float32)[:, None]
    warming_up, novelty = (rows[name].to_numpy(np.float32)[:, None] for name in ("warming_up", "novelty"))
    made = prognose(asset_class, calibration, models, since_new, warming_up, novelty)
    table = pd.DataFrame(
        {
            "rul": made.rul[:, 0],
            "rul_lower": made.lower[:, 0],
            "rul_upper": made.upper[:, 0],
            "failure_probability": made.failure_probability[:, 0],
            "anomaly_score": made.anomaly_score[:, 0],
            "unfamiliar": made.unfamiliar[:, 0],
        },
        index=rows.index,
    )
    for i, name in enumerate(RUL_MODELS):
        table[f"rul_{name}"] = made.rul_model[:, i]
    return pd.concat([rows.rename(columns={"rul": "true_rul"}), table], axis=1)


def calibrations_by_fold(
    asset_class: AssetClass, table: pd.DataFrame, heads: list[str], params: PrognosisParams
) -> dict[int, Calibration]:
    """Fold → the calibration from the out-of-fold rows of all other folds: no machine had a say in what it is told."""
    cap, horizon = asset_class.labels.cap, asset_class.labels.horizon
    others = {int(fold): table[table.fold != fold].reset_index(drop=True) for fold in sorted(table.fold.unique())}
    return {fold: calibrate(rows, heads, cap, horizon, params) for fold, rows in others.items()}


def out_of_fold_prognosis(
    asset_class: AssetClass, calibrations: Mapping[int, Calibration], table: pd.DataFrame, said: pd.DataFrame
) -> pd.DataFrame:
    """`native` of training rows, each by the models and the calibration of the other folds; in the order of `table`."""
    parts = [
        native(asset_class, calibration, table[table.fold == fold], said[table.fold == fold])
        for fold, calibration in calibrations.items()
    ]
    return pd.concat(parts).loc[table.index]
