"""Three that know nothing: a machine's identifier, random predictions, shuffled labels. They must score like it.

How often would an honest pipeline be accused? Shuffled labels and random predictions come in mirrored pairs, m + g and
m − g about the mean label m of the other folds, whatever it is: since ((m + g − y)² + (m − g − y)²)/2 = (m − y)² + g²,
a pair cannot beat the mean, and the alarm is false only if rounding makes a hundredth of an error. What the blend gives
to random predictions is a sum of independent errors: five standard errors are passed three times in ten million. The
identifier is judged by an exact test, passed by chance at most once in a thousand fleets (`dealt_again`).
Seeds are fixed: a fleet that passes, passes again.
"""

from __future__ import annotations

import numpy as np

from training import calibrate, xgboost_model
from training.dataset import machine_weights
from training.leaks.canary import Canary
from training.leaks.trial import Trial

MARGIN = 0.01  # share of the error of the mean label that rounding is given
LEVEL = 0.001  # of the test on identifiers
DEALS = 1999
STANDARD_ERRORS = 5


def shuffled_labels(trial: Trial, seed: int) -> Canary:
    """The features as they are, but labels permuted among the rows to learn from. Whoever still predicts the remaining
    life has the labels from somewhere else.
    """
    said = [
        trial.predict(trial.features, trial.age, lambda rows, sign=sign: _shuffled(trial, rows, sign, seed))
        for sign in (1, -1)
    ]
    score = _of_pair(trial, said)
    fine = score >= (1 - MARGIN) * trial.chance
    if fine and trial.honest >= (1 - MARGIN) * trial.chance:
        reason = "true labels score no better than the mean, so that labels known from elsewhere would not show"
        return Canary(score, trial.chance, None, {"true_labels": trial.honest}, reason)
    return Canary(score, trial.chance, fine, {"true_labels": trial.honest})


def _shuffled(trial: Trial, rows: np.ndarray, sign: int, seed: int) -> np.ndarray:
    """Labels of `rows`, permuted, and mirrored if `sign` is −1, about the mean that they have when they are not."""
    dealt = np.random.default_rng(seed).permutation(trial.label[rows])
    weight = machine_weights(trial.dataset.rows.iloc[rows])
    return trial.mean(rows, trial.label) + sign * (dealt - np.average(dealt, weights=weight))


def random_scorer(trial: Trial, seed: int) -> Canary:
    """Random predictions through the blend and the measures: no better than chance, and of no weight beside the mean.

    A scorer that has seen the labels has to get a weight, else the blend could not have told.
    """
    noise = np.random.default_rng(seed).uniform(-1, 1, len(trial.label)) * np.nanstd(trial.label) * np.sqrt(3)
    score = _of_pair(trial, [trial.null + noise, trial.null - noise])
    weight, peeking = (_weight(trial, trial.null + x) for x in (noise, noise + trial.label - trial.null))
    limit = STANDARD_ERRORS * _standard_error(trial, noise)
    if peeking <= limit:
        reason = f"too few rows: the blend gives a scorer that has seen the labels {peeking:.2g}"
        return Canary(score, trial.chance, None, {"weight": weight}, reason)
    fine = score >= (1 - MARGIN) * trial.chance and weight <= limit
    return Canary(score, trial.chance, fine, {"weight": weight, "weight_allowed": limit})


def _of_pair(trial: Trial, said: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean([trial.rmse(each) ** 2 for each in said])))


def _weight(trial: Trial, said: np.ndarray) -> float:
    """What stage `calibrate` gives predictions beside the mean label."""
    table = trial.dataset.rows.assign(**{"lstm": said, trial.head: trial.null})[trial.judged]
    return float(calibrate.blend(table, trial.head)["lstm"])


def _standard_error(trial: Trial, noise: np.ndarray) -> float:
    """Of the weight that least squares give to `noise` beside the mean label."""
    at = trial.judged
    weight, rest = machine_weights(trial.dataset.rows[at]), (trial.label - trial.null)[at]
    return float(np.sqrt(np.sum((weight * noise[at] * rest) ** 2)) / np.sum(weight * noise[at] ** 2))


def machine_id(trial: Trial, seed: int) -> Canary:
    """A number for each machine, drawn at random, as the only feature: of a machine never seen it tells nothing.

    Split by row instead, half of the rows of every machine seen, it has to tell something, else nothing is shown.
    """
    rows, rng = trial.dataset.rows, np.random.default_rng(seed)
    machine, names = rows.asset.factorize()
    code = rng.permutation(len(names)).astype(np.float32)[machine][:, None]
    said = trial.predict(lambda part: code[: len(part.table)])
    score, p = trial.rmse(said), dealt_again(trial, said, rows.fold.to_numpy(), rng)
    half = rng.permutation(np.flatnonzero(np.isfinite(trial.label)))[::2]
    seen = trial.fit(code[half], half, trial.label[half])
    seen_said = xgboost_model.predict(seen, code) * trial.dataset.asset_class.labels.cap
    by_row = {"score": trial.rmse(seen_said), "p": dealt_again(trial, seen_said, np.zeros(len(rows), int), rng)}
    if p > LEVEL and by_row["p"] > LEVEL:
        reason = "too few machines, or too alike: split by row the identifier would not help either"
        return Canary(score, trial.chance, None, {"p": p, "split_by_row": by_row}, reason)
    return Canary(score, trial.chance, p > LEVEL, {"p": p, "split_by_row": by_row})


def dealt_again(trial: Trial, said: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> float:
    """How often predictions [R], one a machine, are as good when dealt anew among the machines of each `group` [R].

    Identifiers were dealt at random. Unless the model has seen the machines of a group, any other deal would have been
    as likely, so that a share of at most p comes up with probability at most p, whatever the fleet (Fisher's exact test
    by a sample of the permutations; the deal at hand counts as one of them).
    """
    at = trial.judged
    machine, _ = trial.dataset.rows.asset[at].factorize()
    count = np.bincount(machine)
    label, guess = (np.bincount(machine, x[at]) / count for x in (trial.label, said))
    first = np.unique(machine, return_index=True)[1]
    order = np.tile(np.arange(len(count)), (DEALS, 1))
    for g in np.unique(group[at]):
        members = np.flatnonzero(group[at][first] == g)
        order[:, members] = rng.permuted(order[:, members], axis=1)
    error = np.sum((guess - label) ** 2)
    as_good = np.sum(np.sum((guess[order] - label) ** 2, axis=1) <= error * (1 + 1e-9))
    return float(1 + as_good) / (DEALS + 1)
