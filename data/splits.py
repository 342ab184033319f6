"""Stage `splits`: which machines are held out, and in which fold the others are; written once, read by every stage.

Machines are split, never rows: rows of one machine know each other. Machines the source itself holds out are the test
set. Otherwise a share of the machines is drawn, of those that failed and of the rest, spread evenly over short and long
lives; what a machine gets depends on the data, the seed and nothing else. `cuts` fixes the one row at which each
held-out life is scored.

    {"seed": 7, "machines": {"P-01": "test", "P-02": 0, …}, "cuts": {"P-01/0": nanos, …}}
"""

import argparse
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data import command, paths
from data.asset_class import AssetClass
from data.errors import SplitError
from data.lives import Life, read_lives
from data.observations import Observations
from data.resolve import read_class


@dataclass(frozen=True)
class SplitParams:
    """`split` in params.yaml."""

    folds: int = 5
    test_share: float = 0.2
    seed: int = 7

    def __post_init__(self) -> None:
        if self.folds < 2 or not 0 < self.test_share < 1:
            raise SplitError(f"params.yaml: split needs folds >= 2 and 0 < test_share < 1; got {self}")


@dataclass(frozen=True)
class Splits:
    """`machines`: asset → "test" or its fold; `cuts`: (asset, life) → nanos of the row at which it is scored."""

    seed: int
    machines: Mapping[str, str | int]
    cuts: Mapping[tuple[str, int], int]

    @property
    def test(self) -> list[str]:
        return [asset for asset, part in self.machines.items() if part == "test"]

    @property
    def train(self) -> list[str]:
        return [asset for asset, part in self.machines.items() if part != "test"]

    @property
    def folds(self) -> list[list[str]]:
        """The training machines of each fold."""
        folds: dict[int, list[str]] = {}
        for asset in self.train:
            folds.setdefault(int(self.machines[asset]), []).append(asset)
        return [folds[number] for number in sorted(folds)]


# What becomes of entries of a failure log that end no life, as quality.json counts it.
UNUSED = {
    "log_rows_rejected": "without asset or usable time, see artifacts/{fleet}/rejected.csv",
    "log_rows_of_other_kinds": "of a kind in neither source.failures.failure_values nor repair_values",
    "failures_of_unknown_assets": "of machines that have no usable row, or whose ids are written otherwise there",
    "failures_outside_record": "before the first row of their machine, or after another one without rows between",
}


def split(
    cls: AssetClass, lives: Sequence[Life], params: SplitParams, counts: Mapping[str, int] | None = None
) -> dict[str, str | int]:
    """Asset → "test" or a fold 0 … k − 1, in the order of `lives`. Raises `SplitError` where there is too little; what
    `counts` of quality.json tell of the failure log, it then says.
    """
    by_asset: dict[str, list[Life]] = {}
    for life in sorted(lives, key=lambda life: (life.asset, life.life)):
        by_asset.setdefault(life.asset, []).append(life)
    official = {life.asset for life in lives if life.held_out}
    failures = {asset: sum(life.kind == "failure" for life in own) for asset, own in by_asset.items()}
    length = {asset: sum(life.last - life.begin for life in own) / len(own) for asset, own in by_asset.items()}
    # Shortest first; the name decides between equals, so that nothing hangs on the order of the source.
    ordered = sorted(set(by_asset) - official, key=lambda asset: (length[asset], asset))
    failed = [asset for asset in ordered if failures[asset]]
    rest = [asset for asset in ordered if not failures[asset]]
    _require_failures(cls, len(failed), bool(official), counts or {})

    rng = np.random.default_rng(params.seed)
    if official:
        test = official
    else:
        # two are left to cross-validate
        held_out = min(max(1, round(params.test_share * len(failed))), len(failed) - 2)
        test = {*_draw(failed, held_out, rng)}
        test |= {*_draw(rest, round(params.test_share * len(rest)), rng)}
    folds = min(params.folds, len(set(failed) - test))
    fold_of = _deal([asset for asset in failed + rest if asset not in test], failures, folds, rng)
    return {asset: "test" if asset in test else fold_of[asset] for asset in dict.fromkeys(life.asset for life in lives)}


def _require_failures(cls: AssetClass, failed: int, official: bool, counts: Mapping[str, int]) -> None:
    needed = 2 if official else 3
    if failed < needed:
        have = {0: "none has failed", 1: "one has failed"}.get(failed, f"{failed} have failed")
        log = getattr(cls.source, "failures", None)
        say = (
            f"they have to be in {log.file}, with one of source.failures.failure_values if it has kinds, as named"
            if log
            else "say so by source.failures (a failure log) or, when each record ends with one, by life.ends: failure"
        )
        unused = [f"{why.format(fleet=cls.fleet)} ({counts[name]})" for name, why in UNUSED.items() if counts.get(name)]
        raise SplitError(
            f"{cls.fleet}: of the machines to learn from {have}; {needed} that failed are needed, two to cross-validate"
            + ("" if official else " and one to test")
            + f". Add their records; if failures are in them, {say} in data/asset_classes/{cls.name}.yaml"
            + (f". Rows of the failure log that end no life are {'; '.join(unused)}" if unused else "")
        )


def _draw(ordered: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """One of each of `count` strata of neighbours."""
    if count == 0:
        return []
    return [str(rng.choice(stratum)) for stratum in np.array_split(np.array(ordered), count)]


def _deal(ordered: Sequence[str], failures: Mapping[str, int], folds: int, rng: np.random.Generator) -> dict[str, int]:
    """Asset → fold: the next machine goes where failures, then machines, are fewest; chance decides between equals."""
    fold_of = {}
    load = np.zeros((folds, 2), dtype=np.int64)  # failures, machines
    for asset in sorted(ordered, key=lambda asset: -failures[asset]):
        fold = min(range(folds), key=lambda k: (*load[k], rng.random()))
        load[fold] += (failures[asset], 1)
        fold_of[asset] = fold
    return fold_of


def cuts(
    cls: AssetClass, lives: Sequence[Life], held_out: set[str], observations: Observations, seed: int
) -> dict[tuple[str, int], int]:
    """The row at which each held-out life of known end is scored, as its time in nanos.

    A life recorded up to its failure, to within a tick, is cut at one random row after the warm-up and before the
    failure; one whose record stops earlier is scored at its last row. Lives of unknown end, and those that fail before
    they are warm, have no cut.
    """
    chosen = {}
    warm_up = int(cls.features.warm_up * cls.time.tick * 1e9)
    for life in lives:
        if life.asset not in held_out or life.kind != "failure":
            continue
        if life.end - life.last > cls.time.tick * 1e9:
            chosen[life.asset, life.life] = life.last
            continue
        timeline = observations.timeline(life.asset)
        time = timeline.time[timeline.life == life.life]
        usable = time[(time >= life.begin + warm_up) & (time < life.end)]
        if usable.size:
            # A stream of its own, so that a machine's cut does not change when others join the fleet.
            rng = np.random.default_rng([seed, zlib.crc32(f"{life.asset}/{life.life}".encode())])
            chosen[life.asset, life.life] = int(rng.choice(usable))
    return chosen


def write_splits(splits: Splits, path: Path) -> None:
    content: dict[str, Any] = {
        "seed": splits.seed,
        "machines": dict(splits.machines),
        "cuts": {f"{asset}/{life}": nanos for (asset, life), nanos in splits.cuts.items()},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_splits(path: Path) -> Splits:
    content = json.loads(path.read_text(encoding="utf-8"))
    cut = {(key.rpartition("/")[0], int(key.rpartition("/")[2])): nanos for key, nanos in content["cuts"].items()}
    return Splits(content["seed"], content["machines"], cut)


def run_stage(fleet: str, params: SplitParams) -> Splits:
    cls = read_class(fleet)
    lives = read_lives(paths.artifact(fleet, "lives.csv"))
    quality = json.loads(paths.artifact(fleet, "quality.json").read_text(encoding="utf-8"))
    machines = split(cls, lives, params, quality["counts"])
    held_out = {asset for asset, part in machines.items() if part == "test"}
    observations = Observations(paths.observations(fleet), cls)
    splits = Splits(params.seed, machines, cuts(cls, lives, held_out, observations, params.seed))
    write_splits(splits, paths.artifact(fleet, "splits.json"))
    return splits


def read_params(path: Path = Path("params.yaml")) -> SplitParams:
    """`split` of params.yaml; what it leaves out is as in `SplitParams`."""
    return SplitParams(**(yaml.safe_load(path.read_text(encoding="utf-8")).get("split") or {}))


def main(args: argparse.Namespace) -> None:
    params = read_params()
    splits = run_stage(args.fleet, params)
    fewer = (
        f" (params.yaml asks for {params.folds}: too few machines failed)" if len(splits.folds) < params.folds else ""
    )
    print(
        f"{args.fleet}: {len(splits.train)} machines to train on in {len(splits.folds)} folds{fewer}, "
        f"{len(splits.test)} held out, {len(splits.cuts)} lives scored"
    )


if __name__ == "__main__":
    command.run(__doc__, main)
