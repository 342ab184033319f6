"""The report's alarms: what came of them on held-out machines, what was known beforehand, what other limits do."""

from __future__ import annotations

from statistics import median
from typing import Any

import pandas as pd

from data.asset_class import Alarm
from training import plots
from training.evidence import Evidence
from training.measures.alarming import EXPOSURE, rate, rate_name
from training.measures.tally import Tally
from training.wording import LIFE_UNITS, count, number

LINES, OTHER_LINES = 40, 20  # lives in the plot of alarms: that came close to a failure, and other ones with an alarm


def headline_tally(tallies: list[Tally]) -> Tally | None:
    """Of level 2 and higher, which call for action; of the highest there is, where none does."""
    return next((each for each in reversed(tallies) if each.level >= 2), tallies[0] if tallies else None)


def false_alarms(evidence: Evidence, counted: Tally | None) -> str:
    """How often alarms come for nothing, and how often that was to be expected."""
    if counted is None:
        return ""
    cls, exposure = evidence.asset_class, EXPOSURE[evidence.asset_class.time.unit][2]
    if counted.false_alarms:
        often = number(rate(cls, counted))
        told = f"{count(counted.false_alarms, 'false alarm')}: {often} per {exposure}."
    else:
        told = f"No false alarm in {number(counted.far)} {LIFE_UNITS[cls.life.unit]} watched."
    beforehand = evidence.figures.get(f"alarms.level_{counted.level}.cv.{rate_name(cls)}")
    return told if beforehand is None else f"{told} Expected, by cross-validation: {number(beforehand)} per {exposure}."


def alarms(evidence: Evidence, tallies: list[Tally], unit: str) -> dict[str, Any]:
    """All that the template shows of alarms."""
    known = [life for life in evidence.watched.lives if life.failed and len(life.to_end) > 1]
    due = [life for life in known if life.to_end[-1] <= evidence.horizon]
    others = [life for life in known if life.to_end[-1] > evidence.horizon and life.level.any()]
    shown = sorted([*due[:LINES], *others[:OTHER_LINES]], key=lambda life: (-life.to_end[-1], life.asset))
    lines = [(life.asset, life.to_end, life.level) for life in shown]
    tick = evidence.asset_class.time.tick / evidence.asset_class.time_units_per_life_unit
    return {
        "alarms": [(name, alarm, condition(alarm)) for name, alarm in evidence.asset_class.alarms.items()],
        "tallies": [line for counted in tallies for line in _lines(evidence, counted, unit)],
        "exposure": EXPOSURE[evidence.asset_class.time.unit][2],
        "timeline": plots.alarms(lines, evidence.horizon, unit, height=1.1 + 0.13 * len(lines)) if lines else None,
        "timeline_due": len(due[:LINES]),
        "timeline_others": len(others[:OTHER_LINES]),
        "others": len(others),
        "due": len(due),
        "due_cut": sum(life.to_end[-1] > tick for life in due),
        **limits(evidence),
    }


def _lines(evidence: Evidence, counted: Tally, unit: str) -> list[dict[str, Any]]:
    """Two lines of the table: held-out machines as the bundle saw them, and training machines out of fold."""
    cls, name = evidence.asset_class, f"level {counted.level}" + " or higher" * (counted.level < 3)
    lines = []
    for part, words in (("test", "held out"), ("cv", "cross-validated")):
        prefix = f"alarms.level_{counted.level}.{part}"
        figures = {key: evidence.figures.get(f"{prefix}.{key}") for key in ("due", "announced", "median_lead")}
        due, share, lead = figures["due"] or 0, figures["announced"], figures["median_lead"]
        line = {
            "name": name,
            "of": words,
            "is_test": part == "test",
            "due": due,
            "seen": None if share is None else round(share * due),
            "lead": "–" if lead is None else f"{number(lead)} {unit}",
            "false_alarms": evidence.figures.get(f"{prefix}.false_alarms"),
            "rate": evidence.figures.get(f"{prefix}.{rate_name(cls)}"),
            "spread": evidence.figures.spread(f"{prefix}.{rate_name(cls)}"),
            "in_alarm": evidence.figures.get(f"{prefix}.in_alarm"),
            "undecided": evidence.figures.get(f"{prefix}.undecided"),
        }
        if part == "test":
            line |= _seen_by_the_bundle(evidence, counted, unit)
        lines.append(line)
    return lines


def _seen_by_the_bundle(evidence: Evidence, counted: Tally, unit: str) -> dict[str, Any]:
    return {
        "due": counted.due,
        "seen": len(counted.warnings),
        "lead": _lead(counted, unit),
        "false_alarms": counted.false_alarms,
        "rate": rate(evidence.asset_class, counted),
        "in_alarm": counted.far_in_alarm / counted.far if counted.far else None,
        "undecided": counted.undecided,
    }


def limits(evidence: Evidence) -> dict[str, Any]:
    """What an alarm at another limit of the failure probability would have given on training machines."""
    curve = evidence.thresholds
    known = curve[curve.announced.notna() & curve.rate.notna()]
    records = [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in curve.to_dict("records")
    ]
    per = EXPOSURE[evidence.asset_class.time.unit][2]
    return {"limits": records, "limits_plot": plots.limits(known, per) if len(known) else None}


def _lead(counted: Tally, unit: str) -> str:
    if not counted.warnings:
        return "–"
    first, last = min(counted.warnings), max(counted.warnings)
    return f"{number(median(counted.warnings))} {unit} ({number(first)} to {number(last)})"


def condition(alarm: Alarm) -> str:
    """
    >>> condition(Alarm(level=2, signal="failure_probability", above=0.5))
    'failure probability above 0.5'
    """
    side = "above" if alarm.above is not None else "below"
    return f"{alarm.signal.replace('_', ' ')} {side} {alarm.limit:g}"
