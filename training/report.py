"""Stage `report`: one self-contained page for the people who act on the twin, and tables for `dvc plots`.

python -m training.report <fleet>

Writes artifacts/<fleet>/report.html and artifacts/<fleet>/plots/*.csv; the same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from data import command, paths
from data.asset_class import Alarm
from training import evidence as ev
from training import model_card, plots, verdict
from training.alarm_history import Tally, tally
from training.evidence import Evidence
from training.figure_table import HEADS, family_rows, rows
from training.wording import LIFE_UNITS, count, number, percent, seen

TEMPLATE = "report.html.j2"
DRIVERS, LEAST = 12, 0.005  # channels shown, at most, and the share that is worth showing
LINES, OTHER_LINES = 40, 20  # lives in the plot of alarms: that came close to a failure, and other ones with an alarm
# False alarms are counted per this much watched time: time units, and what people call it.
EXPOSURE = {"s": (30 * 86400.0, "machine-month"), "cycle": (1000.0, "1,000 cycles")}


def page(evidence: Evidence) -> str:
    """The report as HTML."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "seen": seen}
    return environment.get_template(TEMPLATE).render(view(evidence))


def view(evidence: Evidence) -> dict[str, Any]:
    """All that the template shows."""
    cls, figures = evidence.asset_class, evidence.figures
    unit = LIFE_UNITS[cls.life.unit]
    level = next(iter(evidence.cross.values()))["interval"]["level"]
    tallies = tallied(evidence)
    tiles = [
        verdict.off(figures, ev.mean_error(evidence), unit),
        verdict.holds(figures, level, unit, evidence.cap),
        verdict.announced(headline_tally(tallies), unit, false_alarms(evidence, headline_tally(tallies))),
        verdict.usable(evidence.quality),
    ]
    few = int(figures.get("n.lives_scored") or 0) < verdict.FEW
    machines = count(int(figures.get("n.machines") or 0), f"{'simulated ' * cls.simulated}machine")
    return {
        "cls": cls,
        "manifest": evidence.manifest,
        "unit": unit,
        "level": level,
        "headline": verdict.headline(tiles, machines, few),
        "few": few,
        "tiles": tiles,
        **remaining_life(evidence, unit),
        **failure(evidence, unit),
        **alarms(evidence, tallies, unit),
        **drivers(evidence),
        "facts": model_card.learnt_from(evidence, unit),
        "channels": model_card.channels(evidence),
        "findings": model_card.findings(evidence.quality),
        "rows": rows(figures, next(iter(evidence.cross.values())), unit, evidence.cap),
        "families": family_rows(figures, evidence.cross),
        "heads": [f"{HEADS[head]}: weight" if len(evidence.cross) > 1 else "weight" for head in evidence.cross],
        "exported": model_card.exported(evidence.manifest),
    }


def remaining_life(evidence: Evidence, unit: str) -> dict[str, Any]:
    scored, shown = ev.scored(evidence), ev.trajectories(evidence)
    bad, judged = ev.badly_covered(evidence)
    return {
        "scatter": plots.remaining_life(scored, evidence.cap, unit) if len(scored) else None,
        "scored": len(scored),
        "beyond_edge": bool((scored.true_rul > plots.EDGE * evidence.cap).any()),
        "scored_inside": int(scored.inside.sum()),
        "trajectories": [
            {"name": each.name, "error": each.error, "svg": plots.trajectory(each.rows, evidence.cap, unit, i == 0)}
            for i, each in enumerate(shown)
        ],
        "badly_covered": bad,
        "coverage_judged": judged,
    }


def failure(evidence: Evidence, unit: str) -> dict[str, Any]:
    bins = ev.reliability(evidence)
    horizon = f"{number(evidence.horizon)} {unit}"
    return {
        "horizon": horizon,
        "reliability": plots.reliability(bins, horizon) if len(bins) else None,
        "bins": bins.to_dict("records"),
    }


def tallied(evidence: Evidence) -> list[Tally]:
    """Alarms counted at each level that the class uses, the highest first."""
    levels = sorted({alarm.level for alarm in evidence.asset_class.alarms.values()}, reverse=True)
    return [tally(evidence.watched.lives, level, evidence.horizon) for level in levels]


def headline_tally(tallies: list[Tally]) -> Tally | None:
    """Of level 2 and higher, which call for action; of the highest there is, where none does."""
    return next((each for each in reversed(tallies) if each.level >= 2), tallies[0] if tallies else None)


def rate(evidence: Evidence, counted: Tally) -> float | None:
    """False alarms per machine-month or per 1,000 cycles, over the time in which one could be told to be false."""
    per, _ = EXPOSURE[evidence.asset_class.time.unit]
    far = counted.far * evidence.asset_class.time_units_per_life_unit
    return counted.false_alarms * per / far if far else None


def false_alarms(evidence: Evidence, counted: Tally | None) -> str:
    if counted is None:
        return ""
    if not counted.false_alarms:
        return f"No false alarm in {number(counted.far)} {LIFE_UNITS[evidence.asset_class.life.unit]} watched."
    often = number(rate(evidence, counted))
    return f"{count(counted.false_alarms, 'false alarm')}: {often} per {EXPOSURE[evidence.asset_class.time.unit][1]}."


def alarms(evidence: Evidence, tallies: list[Tally], unit: str) -> dict[str, Any]:
    known = [life for life in evidence.watched.lives if life.failed and len(life.to_end) > 1]
    due = [life for life in known if life.to_end[-1] <= evidence.horizon]
    others = [life for life in known if life.to_end[-1] > evidence.horizon and life.level.any()]
    shown = sorted([*due[:LINES], *others[:OTHER_LINES]], key=lambda life: (-life.to_end[-1], life.asset))
    lines = [(life.to_end, life.level) for life in shown]
    tick = evidence.asset_class.time.tick / evidence.asset_class.time_units_per_life_unit
    return {
        "alarms": [(name, alarm, condition(alarm)) for name, alarm in evidence.asset_class.alarms.items()],
        "tallies": [
            {
                "of": each,
                "lead": _lead(each, unit),
                "rate": rate(evidence, each),
                "in_alarm": each.far_in_alarm / each.far if each.far else None,
            }
            for each in tallies
        ],
        "exposure": EXPOSURE[evidence.asset_class.time.unit][1],
        "timeline": plots.alarms(lines, evidence.horizon, unit, height=1.1 + 0.1 * len(lines)) if lines else None,
        "timeline_due": len(due[:LINES]),
        "timeline_others": len(others[:OTHER_LINES]),
        "others": len(others),
        "due": len(due),
        "due_cut": sum(life.to_end[-1] > tick for life in due),
    }


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


def drivers(evidence: Evidence) -> dict[str, Any]:
    """The channels with the largest share in the health lost close to failures."""
    mean, cls = evidence.watched.drivers, evidence.asset_class
    if mean is None or not mean.sum():
        return {"drivers": None, "driver_names": []}
    shares = mean / mean.sum()
    largest = [i for i in np.argsort(-shares, kind="stable")[:DRIVERS] if shares[i] >= LEAST]
    names = [cls.channels[cls.scalars[i]].quantity for i in largest]
    labels = [textwrap.fill(name, 34, max_lines=2, placeholder=" …") for name in names]
    svg = plots.drivers(labels, shares[largest], height=0.5 + 0.3 * len(largest))
    return {"drivers": svg, "driver_names": list(zip(names, shares[largest].tolist(), strict=True))}


def tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """What `dvc plots` draws, by file name; the trajectory is that of the life in the middle of the report's."""
    shown = ev.trajectories(evidence)
    columns = ["elapsed", "true_rul", "rul", "rul_lower", "rul_upper"]
    middle = shown[len(shown) // 2].rows if shown else pd.DataFrame(columns=columns)
    trajectory = middle[columns].assign(rul_upper=np.minimum(middle.rul_upper, evidence.cap))
    return {
        "remaining_life.csv": ev.scored(evidence)[["asset", "life", "true_rul", "rul", "rul_lower", "inside"]],
        "reliability.csv": ev.reliability(evidence),
        "trajectory.csv": plots.thin(trajectory),
    }


def run(fleet: str) -> Path:
    evidence = ev.read(fleet)
    path = paths.artifact(fleet, "report.html")
    path.write_text(page(evidence), encoding="utf-8")
    folder = paths.artifact(fleet, "plots")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables(evidence).items():
        table.to_csv(folder / name, index=False, float_format="%.6g", lineterminator="\n")
    return path


def main(args: argparse.Namespace) -> None:
    path = run(args.fleet)
    print(f"{args.fleet}: {path}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    command.run(__doc__, main)
