"""The feature tables of a fleet, as stage `feature_table` wrote them and the training stages read them.

artifacts/<fleet>/features/rows.parquet        one row a tick of every machine, training machines first
artifacts/<fleet>/features/<part>/table.npy    float32 [rows, F]; parts: fold 0, 1, … (training machines), final (all)
artifacts/<fleet>/features/<part>/novelty.npy  float32 [rows]: how far out each row is, 1 = the edge of training
artifacts/<fleet>/features/<part>/names.json   feature names, and how many leading ones are free of age
artifacts/<fleet>/features/<part>/parameters.npz
artifacts/<fleet>/labels/<part>.npy            float32 [rows], by stage `labels`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from data import paths
from data.asset_class import AssetClass
from data.resolve import read_class
from features.parameters import Parameters

FINAL = "final"
TEST = -1  # fold of a test machine's rows


@dataclass(frozen=True)
class Part:
    """The features under one set of fitted constants."""

    folder: Path

    @cached_property
    def table(self) -> np.ndarray:
        """f32[R,F], memory-mapped."""
        return np.load(self.folder / "table.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def novelty(self) -> np.ndarray:
        """f32[R]; see `features.step.Features`."""
        return np.load(self.folder / "novelty.npy", allow_pickle=False)

    @cached_property
    def names(self) -> list[str]:
        return json.loads((self.folder / "names.json").read_text())["names"]

    @cached_property
    def free_of_age(self) -> int:
        return json.loads((self.folder / "names.json").read_text())["free_of_age"]

    @cached_property
    def parameters(self) -> Parameters:
        return Parameters.load(self.folder / "parameters.npz")

    def columns(self, head: str) -> list[int]:
        """Columns that a head's trees may use: all for `aged`, the free ones for `free`.

        The step length is for the recurrent cell alone: with regular steps it is log(1), whose last bit depends on how
        onnxruntime's vector code meets it, and a tree would split right there.
        """
        names = self.names if head == "aged" else self.names[: self.free_of_age]
        return [i for i, name in enumerate(names) if name != "clock.log_step"]


@dataclass(frozen=True)
class Dataset:
    """All tables of one fleet."""

    fleet: str
    folder: Path

    @classmethod
    def of(cls, fleet: str) -> Dataset:
        return cls(fleet, paths.artifact(fleet, "features"))

    @cached_property
    def asset_class(self) -> AssetClass:
        return read_class(self.fleet)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row a tick: asset, life, row (observation number), time (nanos), age, fold, the labels of `data.labels`,
        warming_up, warm, since_new, at_failure (the last row of a life that failed)."""
        return pd.read_parquet(self.folder / "rows.parquet")

    @cached_property
    def training(self) -> pd.DataFrame:
        """Rows of training machines: the first ones."""
        return self.rows[self.rows.fold != TEST]

    @cached_property
    def test(self) -> pd.DataFrame:
        return self.rows[self.rows.fold == TEST]

    @property
    def folds(self) -> list[int]:
        return sorted(self.training.fold.unique().tolist())

    @property
    def heads(self) -> list[str]:
        """`aged` uses age and since-new features, `free` is free of them."""
        return {"required": ["aged"], "optional": ["aged", "free"], "none": ["free"]}[self.asset_class.life.age]

    def labels(self, part: Part) -> np.ndarray:
        """f32[R] what models learn of the rows of `part`: capped remaining life / cap, known or expected; NaN: nothing.

        Stage `labels` makes it from the rows that the part is fitted on.
        """
        return np.load(self.labels_path(part), allow_pickle=False)

    def labels_path(self, part: Part) -> Path:
        return self.folder.parent / "labels" / f"{part.folder.name}.npy"

    def part(self, name: int | str) -> Part:
        return Part(self.folder / (f"fold{name}" if isinstance(name, int) else name))


def machine_weights(rows: pd.DataFrame) -> np.ndarray:
    """f64[R] that weigh the machines in `rows` equally, mean 1."""
    count = rows.groupby("asset").asset.transform("size").to_numpy()
    weight = 1.0 / count
    return weight / weight.mean() if len(weight) else weight
