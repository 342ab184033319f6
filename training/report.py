"""Stage `report`: one self-contained page for the people who act on the twin, and tables for `dvc plots`.

python -m training.report <fleet>

Writes artifacts/<fleet>/report.html and artifacts/<fleet>/plots/*.csv; the same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from data import command, paths
from training import evidence as ev
from training import model_card, plots, proof, verdict
from training.alarm_report import alarms, false_alarms, headline_tally
from training.evidence import Evidence
from training.figure_table import HEADS, family_rows, rows
from training.measures.alarming import tallied
from training.measures.bootstrap import RESAMPLES
from training.wording import LIFE_UNITS, count, number, percent, seen

TEMPLATE = "report.html.j2"
DRIVERS, LEAST = 12, 0.005  # channels shown, at most, and the share that is worth showing


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
    tallies = tallied(cls, evidence.watched.lives)
    tiles = [
        verdict.off(figures, unit, evidence.cap),
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
        "headline": verdict.headline(tiles, machines, f"{number(evidence.cap)} {unit}", few),
        "few": few,
        "tiles": tiles,
        **remaining_life(evidence, unit),
        **failure(evidence, unit),
        **alarms(evidence, tallies, unit),
        **drivers(evidence),
        **proof.errors(evidence, unit),
        **proof.coverage(evidence, level),
        "looks": proof.looked(evidence),
        "look": figures.get("n.look"),
        "canaries": proof.canaries(figures, unit),
        "facts": model_card.learnt_from(evidence, unit),
        "channels": model_card.channels(evidence),
        "findings": model_card.findings(evidence.quality),
        "rows": rows(figures, level, unit, evidence.cap),
        "both_heads": proof.has_both_heads(evidence),
        "resamples": RESAMPLES,
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
        "machines": int(evidence.figures.get("n.machines") or 0),
        "badly_covered": bad,
        "coverage_judged": judged,
        "unfamiliar": ev.unfamiliar(evidence.table),
    }


def failure(evidence: Evidence, unit: str) -> dict[str, Any]:
    bins = ev.reliability(evidence)
    horizon = f"{number(evidence.horizon)} {unit}"
    return {
        "horizon": horizon,
        "reliability": plots.reliability(bins, horizon) if len(bins) else None,
        "bins": bins.to_dict("records"),
        "prior": evidence.figures.get("failure.prior"),
    }


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
