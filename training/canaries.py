"""Stage `canaries`: leaks are planted in the pipeline and must be caught, and the pipeline itself must have none.

python -m training.canaries <fleet>

Comes before `evaluate`, so that a leaky pipeline fails while the test machines are still unseen. Writes canaries.json,
what became of each canary; see `training.leaks`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np

from data import command, paths
from data.splits import Splits, read_splits
from training.dataset import FINAL, Dataset, Part
from training.leaks import canary, causality, chance, isolation, planted, separation
from training.leaks.canary import Canary
from training.leaks.difference import TOLERANCE, Difference
from training.leaks.errors import LeakError
from training.leaks.trial import Trial
from training.params import FeatureParams, read_params

SEED = 7
KNOW_NOTHING = ("machine_id", "random_scorer", "shuffled_labels")  # caught, if they were better than chance
AHEAD: tuple[causality.Feature, ...] = (planted.rows_left, planted.centred_average)
# What it means that a canary was not caught, and where to look.
MEANING = {
    **dict.fromkeys(
        (feature.__name__ for feature in AHEAD),
        "a feature made of rows to come was not flagged: the detector in training/leaks/causality.py is blind",
    ),
    "target_encoding": "a target encoding fitted on all machines was not flagged: the detector in "
    "training/leaks/isolation.py is blind",
    "machine_id": "a random identifier tells the remaining life of machines that no model should have seen: look at "
    "training/predictions.py and data/splits.py",
    "random_scorer": "random predictions are believed: look at `blend` in training/calibrate.py and at "
    "training/metrics.py",
    "shuffled_labels": "the remaining life is predicted without its labels, which come from somewhere else: look at "
    "training/xgboost_model.py, training/predictions.py and training/metrics.py",
}


def require_causal(dataset: Dataset, part: Part, rng: np.random.Generator) -> dict[str, Difference]:
    """Withhold the future: raise `LeakError` if it changes a stored feature of `part`; return what it changes of the
    planted ones, nothing where no machine has a future to withhold.
    """
    cuts = causality.choose_cuts(dataset.rows.iloc[: len(part.table)], rng)
    if not cuts:
        return {}
    again = causality.replay(dataset, part, cuts)
    found = causality.check(dataset, part, cuts, again)
    if found.found:
        raise LeakError(
            f"{dataset.fleet}: a feature must be the same when what comes later is withheld, but "
            f"in features/{part.folder.name} {found.at} changes by {found.size:.2g} of its spread (allowed: "
            f"{TOLERANCE:g}): make each row from the rows up to it alone; look at features/ and "
            "training/feature_table.py, then run `dvc repro`"
        )
    column = planted.index_column(part)
    return {f.__name__: causality.check_feature(dataset, part, column, f, again) for f in AHEAD} | {"pipeline": found}


def require_isolated(dataset: Dataset, splits: Splits, fold: int, params: FeatureParams) -> Difference:
    """Withhold the machines that judge the constants of `fold`, and the final ones: raise `LeakError` if it changes
    these.
    """
    world = isolation.World.without_test(dataset, splits)
    judges = [asset for asset, part in splits.machines.items() if part == fold]
    cases = [(fold, world.without(judges), f"the machines of fold {fold}"), (FINAL, world, "the test machines")]
    worst = Difference(0.0, "no constant")
    for name, without, whom in cases:
        part = dataset.part(name)
        found = isolation.check(part.parameters, without.constants(params.seed))
        if found.found:
            raise LeakError(
                f"{dataset.fleet}: constants must be fitted without the machines they are judged on, but in "
                f"features/{part.folder.name} {found.at} changes by {found.size:.2g} of its spread (allowed: "
                f"{TOLERANCE:g}) when {whom} were never recorded. Fit on the other machines alone: look at "
                "training/feature_table.py and features/fit.py, then run `dvc repro`"
            )
        worst = worst.worse(found)
    return worst


def plant(trial: Trial, fold: int, ahead: Mapping[str, Difference], isolated: Difference) -> dict[str, Canary]:
    """Planted leaks: what each would flatter, and whether its detector flags it."""
    dataset = trial.dataset

    def judged(score: Callable[[], float], found: Difference | None, clean: Difference | None) -> Canary:
        if found is None or clean is None:
            return Canary(None, None, None, reason="no machine has two ticks: there is no future to withhold")
        evidence = {"planted": found.size, "pipeline": clean.size, "compared": clean.compared, "allowed": TOLERANCE}
        return Canary(score(), trial.honest, found.found, evidence)

    made = {
        f.__name__: judged(lambda f=f: planted.score_feature(trial, f), ahead.get(f.__name__), ahead.get("pipeline"))
        for f in AHEAD
    }
    encoded = planted.check_encoding(trial, dataset.part(fold), fold)
    return made | {"target_encoding": judged(lambda: planted.score_encoding(trial), encoded, isolated)}


def check(fleet: str) -> dict[str, Canary]:
    """What became of each canary. Raises `LeakError` where the pipeline itself leaks."""
    dataset, splits = Dataset.of(fleet), read_splits(paths.artifact(fleet, "splits.json"))
    rng = np.random.default_rng(SEED)
    separation.require(dataset, splits)
    fold = int(rng.choice(dataset.folds))
    require_causal(dataset, dataset.part(FINAL), rng)
    ahead = require_causal(dataset, dataset.part(fold), rng)
    isolated = require_isolated(dataset, splits, fold, read_params().features)
    trial = Trial.of(dataset, read_params().xgboost)
    if not trial.judged.any():
        reason = "no training row after warm-up has a known remaining life"
        return {name: Canary(None, None, None, reason=reason) for name in MEANING}
    return plant(trial, fold, ahead, isolated) | {
        "machine_id": chance.machine_id(trial, SEED),
        "random_scorer": chance.random_scorer(trial, SEED),
        "shuffled_labels": chance.shuffled_labels(trial, SEED),
    }


def run(fleet: str) -> None:
    canaries = check(fleet)
    canary.write(fleet, canaries)
    missed = {name: of for name, of in canaries.items() if of.caught is False}
    if missed:
        told = "; ".join(
            f"{name}: {MEANING[name]} (scores {of.score:.4g}, chance {of.chance:.4g})" for name, of in missed.items()
        )
        raise LeakError(
            f"{fleet}: every canary must be caught, but {told}. What was measured stands in {canary.path(fleet)}"
        )
    for name, of in canaries.items():
        good = "no better than chance" if name in KNOW_NOTHING else "caught"
        said = "cannot be judged: " + of.reason if of.caught is None else good
        figures = "" if of.score is None else f" ({of.score:.2f}, chance {of.chance:.2f})"
        print(f"{fleet} canary {name}: {said}{figures}")


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
