"""Accuracy of remaining life, cross-validated: against what needs no sensors, and against the champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from training.machine_errors import Difference, paired, rmse
from training.promotion.candidate import FAILED, HEADS, UNKNOWN, Candidate, Judgement, heads, shown, state
from training.promotion.rules import AccuracyRule


def accuracy(rule: AccuracyRule, challenger: Candidate, champion: Candidate | None) -> Iterator[Judgement]:
    for i in heads(challenger, champion):
        yield against_guess(rule, challenger, champion, i)
        if champion is not None:
            yield against_champion(rule, challenger, champion, i)


def against_guess(rule: AccuracyRule, challenger: Candidate, champion: Candidate | None, i: int) -> Judgement:
    """The guess is cross-validated on the same rows; `rul.null.*` are of test machines, at other moments of life."""
    suffix, words = [*HEADS.items()][i]
    name, words = f"rul{suffix}.cv.rmse", f"accuracy{words}"
    old, limit = shown(champion, name), f"{rule.guess:.0%} of a guess's"
    value = challenger.figure(name)
    if value is None:
        return Judgement(words, old, UNKNOWN, limit, FAILED, challenger.lacks(name))
    if challenger.errors is None or len(challenger.errors.heads) <= i:
        why = "its cross_validation.json has no errors of this head: export it again with this version of overhaul"
        return Judgement(words, old, f"{value:.4g}", limit, FAILED, why)
    guesses = {guess: rmse(errors) for guess, errors in challenger.errors.nulls(i).items()}
    best = min(guesses.values())
    why = ", ".join(f"{error:.4g} by {guess} alone" for guess, error in guesses.items())
    return Judgement(words, old, f"{value:.4g}", f"≤ {rule.guess * best:.4g}", state(value <= rule.guess * best), why)


def against_champion(rule: AccuracyRule, challenger: Candidate, champion: Candidate, i: int) -> Judgement:
    """Not worse by more than `rule.worse` standard errors of the difference."""
    suffix, words = [*HEADS.items()][i]
    words = f"accuracy{words}, to champion"
    old, new = (shown(each, f"rul{suffix}.cv.rmse") for each in (champion, challenger))
    limit = f"{rule.worse:g} × its standard error"
    if other_moments(challenger, champion):
        why = (
            "judged at other moments of the same lives, as after another warm-up or tick: the errors do not compare. "
            "Keep these as they were, or take the champion's alias away: then the absolute limits judge alone"
        )
        return Judgement(words, old, new, limit, FAILED, why)
    try:
        difference = compared(challenger, champion, i)
    except LookupError as error:
        return Judgement(words, old, new, limit, FAILED, str(error))
    if not np.isfinite(difference.se):
        return Judgement(words, old, new, limit, FAILED, "one machine gives no standard error: train on more")
    most = rule.worse * difference.se
    how = f"paired over {difference.machines} machines" if difference.machines else unpaired(challenger, champion)
    why = f"{difference.value:+.3g} ± {difference.se:.2g}, {how}"
    return Judgement(words, old, new, f"≤ {most:.3g} worse", state(difference.value <= most), why)


def other_moments(challenger: Candidate, champion: Candidate) -> bool:
    """Whether of the same data other rows were judged: who is asked later in life errs less, and is no better."""
    if challenger.data_hash != champion.data_hash or challenger.data_hash is None:
        return False
    new, old = (each.errors.rows if each.errors else None for each in (challenger, champion))
    return bool(new and old) and any(new[machine] != old[machine] for machine in new.keys() & old.keys())


def compared(challenger: Candidate, champion: Candidate, i: int) -> Difference:
    """RMSE of head `i` less the champion's: paired where both were judged on the same machines of the same data.

    Else from both figures, as if independent. `LookupError` when a figure is missing.
    """
    if (pairs := _pairs(challenger, champion, i)) is not None:
        return paired(*pairs)
    found = []
    for lacks, each in ((challenger.lacks, challenger), (champion.never_said, champion)):
        for name in (f"rul{[*HEADS][i]}.cv.rmse", f"rul{[*HEADS][i]}.cv.se"):
            if (value := each.figure(name)) is None:
                raise LookupError(lacks(name))
            found.append(value)
    new, new_se, old, old_se = found
    return Difference(new - old, float(np.hypot(new_se, old_se)))


def unpaired(challenger: Candidate, champion: Candidate) -> str:
    if champion.data_hash != challenger.data_hash:
        reason = "they learned from different data"
    elif champion.errors is None or challenger.errors is None:
        reason = "one of them has no errors by machine"
    else:
        reason = "they were split differently"
    return f"unpaired ({reason}): part of it is of the machines, not of the models"


def _pairs(challenger: Candidate, champion: Candidate, i: int) -> tuple[Mapping[str, float], ...] | None:
    """Errors by machine, of the champion and of the challenger."""
    if None in (champion.errors, challenger.errors, champion.data_hash) or champion.data_hash != challenger.data_hash:
        return None
    all_heads = [[*each.errors.heads.values()] for each in (champion, challenger) if each.errors]
    if any(len(own) <= i for own in all_heads) or all_heads[0][i].keys() != all_heads[1][i].keys():
        return None
    return all_heads[0][i], all_heads[1][i]
