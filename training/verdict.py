"""The verdict of a report: four questions a maintenance engineer asks, each answered with a figure and a judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from training.figure_table import Figures
from training.measures.tally import Tally
from training.wording import UNKNOWN, count, number, percent

GUESSES = {"rul.null.age": "judging by age alone", "rul.null.mean": "always saying the average"}
LITTLE = 0.75  # an error above this share of a guess's is little better than the guess
ALMOST = 0.05  # a coverage this much below the promise is still fair, given few test machines
NEARLY_ALL, MOST = 0.9, 0.6  # shares of failures announced
SOUND, GAPS = 0.98, 0.8  # shares of values that are usable
FEW = 30  # fewer lives scored prove little


@dataclass(frozen=True)
class Tile:
    """One answer at a glance. `mark`: good, fair, poor or none (could not be judged)."""

    question: str
    answer: str
    detail: str
    mark: str = "none"
    verdict: str = ""


def off(figures: Figures, unit: str, cap: float) -> Tile:
    """How far off the remaining life is where less than the `cap` is left; the verdict, beside guesses, is of all.

    Where none had less left it is not known: where lives are not told apart, whoever says the cap is right.
    """
    question, rmse, mean_error = "How far off is the remaining life?", figures.get("rul.rmse"), figures.get("rul.mae")
    if rmse is None or mean_error is None:
        return Tile(question, UNKNOWN, f"Could not be checked: {figures.reason('rul.rmse')}.")
    below, scored = (int(figures.get(f"n.lives_{name}") or 0) for name in ("below_cap", "scored"))
    if not below:
        told = f"every held-out life was judged where it had more than {cap:g} {unit} left"
        return Tile(question, UNKNOWN, f"Could not be checked: {told}, and such are not told apart.")
    guesses = [(value, words) for name, words in GUESSES.items() if (value := figures.get(name)) is not None]
    lives, spread = count(scored, "held-out life", "held-out lives"), figures.spread("rul.rmse")
    answer = f"{number(figures.get('rul.below_cap.mae'), 2)} {unit}"
    if below < scored:
        detail = f"on average over the {below} of {lives} that had less than {cap:g} {unit} left when judged. "
        detail += f"Over all {number(mean_error, 2)}, RMSE {number(rmse)}"
    else:
        detail = f"on average over {lives}. RMSE {number(rmse)}"
    detail += f" (other machines could give {number(spread[0])} to {number(spread[1])})" if spread else ""
    if not guesses:
        return Tile(question, answer, detail + ".")
    detail += f"; without sensors {', '.join(f'{number(value)} {words}' for value, words in guesses)}."
    null, guess = min(guesses)
    if rmse >= null:
        mark, verdict = "poor", f"no better than {guess}"
    elif rmse >= LITTLE * null:
        mark, verdict = "fair", f"little better than {guess}"
    else:
        mark, verdict = "good", f"{null / rmse:.1f} times closer than {guess}" if rmse else "without error"
    return Tile(question, answer, detail, mark, verdict)


def holds(figures: Figures, level: float, unit: str, cap: float) -> Tile:
    """How often the truth lies in the interval."""
    question = f"How often does the {percent(level)} interval hold?"
    coverage = figures.get("rul.all_rows.coverage")
    if coverage is None:
        return Tile(question, UNKNOWN, f"Could not be checked: {figures.reason('rul.all_rows.coverage')}.")
    closed, is_open = (figures.get(f"rul.all_rows.{name}") for name in ("closed_width", "open"))
    detail = "of the time, machines counted equally. "
    if is_open:
        detail += f"{percent(is_open)} of the time it is open at the top: “more than {cap:g}”. "
    if closed is not None:
        detail += f"{'Else it' if is_open else 'It'} is {number(closed)} {unit} wide on average."
    if coverage >= level:
        mark, verdict = "good", "keeps its promise"
    elif coverage >= level - ALMOST:
        mark, verdict = "fair", "a little too narrow"
    else:
        mark, verdict = "poor", "too narrow"
    return Tile(question, percent(coverage), detail, mark, verdict)


def announced(tally: Tally | None, unit: str, rate: str) -> Tile:
    """Whether alarms come before failures; `rate` says how often they come for nothing."""
    question = "Are failures announced by an alarm?"
    if tally is None:
        return Tile(question, "no alarms", "The class declares none.")
    if not tally.due:
        return Tile(question, UNKNOWN, f"No held-out record comes near a failure. {rate}")
    seen = len(tally.warnings)
    detail = f"failures had an alarm of level {tally.level} or higher before them"
    detail += f", in the median {number(median(tally.warnings))} {unit} before. " if seen else ". "
    share = seen / tally.due
    mark = "good" if share >= NEARLY_ALL else "fair" if share >= MOST else "poor"
    verdict = {"good": "nearly all", "fair": "most, not all", "poor": "too few"}[mark] if share < 1 else "all of them"
    return Tile(question, f"{seen} of {tally.due}", detail + rate, mark, verdict)


def usable(quality: Mapping[str, Any]) -> Tile:
    """Share of values received and within the declared range."""
    question, channels = "How much of the data is usable?", quality["channels"].values()
    expected = sum(channel["received"] + channel["missing"] for channel in channels)
    good = sum(channel["received"] - channel["out_of_range"] for channel in channels)
    if not expected:
        told = "No value was received." if channels else "The class has waveforms alone, and these are not counted."
        return Tile(question, UNKNOWN, told)
    machines, observations = count(quality["assets"], "machine"), count(quality["observations"], "observation")
    detail = f"of the values from {machines} ({observations}). The rest is missing or outside the declared range."
    share = good / expected
    mark, verdict = ("good", "sound") if share >= SOUND else ("fair", "gaps") if share >= GAPS else ("poor", "thin")
    return Tile(question, percent(share), detail, mark, verdict)


def headline(tiles: Sequence[Tile], machines: str, told: str, few: bool = False) -> str:
    """Whether to plan by it. `tiles` are off, holds, announced; `machines` says who was held out, `told` how much life
    is told apart (“20 days”), `few` how firmly to speak."""
    life, interval, alarm = tiles[:3]
    if life.mark == "none" and life.answer == UNKNOWN:
        return f"Not proven yet. {life.detail}"
    if life.mark == "poor":
        return f"Do not plan by it yet: on {machines} it had never seen, its remaining life was {life.verdict}."
    facts = f"on {machines} it had never seen, the remaining life was {life.answer} off on average where less than "
    facts += f"{told} were left"
    if interval.mark == "poor":
        return f"Do not rely on its interval: {facts}, but the interval held only {interval.answer} of the time."
    doubts = [tile.verdict for tile in (life, interval) if tile.mark == "fair"]
    if alarm.mark in ("fair", "poor"):
        doubts.append(f"alarms announced {alarm.answer} failures")
    facts += f" and the interval held {interval.answer} of the time" if interval.mark != "none" else ""
    if doubts:
        return f"Use it with care ({'; '.join(doubts)}): {facts}."
    facts += f"; alarms announced {alarm.answer} failures" if alarm.mark == "good" else ""
    return f"{'So far it holds up' if few else 'It has proven itself'}: {facts}."
