"""The report on its own figures: nulls, label protocols, with and without age, coverage by third, canaries, looks."""

from __future__ import annotations

from typing import Any

from training import looks, plots
from training.evidence import Evidence
from training.figure_table import Figures
from training.plots import Mark
from training.wording import number

WITHOUT_AGE = "rul.without_age"
NULLS = {"age": "age alone", "mean": "always the average"}
CANARIES = {
    "rows_left": "feature that counts the rows left",
    "centred_average": "feature that averages rows to come",
    "target_encoding": "label means of all machines as a feature",
    "machine_id": "random identifier of the machine",
    "random_scorer": "model that says random numbers",
    "shuffled_labels": "models trained on shuffled labels",
}


def has_both_heads(evidence: Evidence) -> bool:
    return len(evidence.cross) > 1


def errors(evidence: Evidence, unit: str) -> dict[str, Any]:
    """Plots of the RMSE at the cuts: capped and uncapped truth, with and without age, beside the nulls."""
    figures, made = evidence.figures, {}
    for protocol in ("", "_uncapped"):
        name = f"rmse{protocol}"
        found = [Mark("twin", figures.get(f"rul.{name}"), figures.spread(f"rul.{name}"), said=True)]
        if has_both_heads(evidence):
            found[0] = Mark("twin, age known", found[0].value, found[0].spread, said=True)
            without = f"{WITHOUT_AGE}.{name}"
            found.append(Mark("twin, age unknown", figures.get(without), figures.spread(without), said=True))
        found += [Mark(words, figures.get(f"rul.null.{null}{protocol}")) for null, words in NULLS.items()]
        marks = [mark for mark in found if mark.value is not None]
        made[f"errors{protocol}"] = (
            plots.errors(marks, unit, height=0.9 + 0.34 * len(marks))
            if figures.get(f"rul.{name}") is not None
            else None
        )
        made[f"errors{protocol}_alt"] = "; ".join(f"{mark.name} {number(mark.value)}" for mark in marks)
    return made


def coverage(evidence: Evidence, level: float) -> dict[str, Any]:
    """Plot of how often the interval holds in each third of the predicted life."""
    groups = {
        "held out": evidence.figures.get("rul.all_rows.thirds"),
        "cross-validated": evidence.figures.get("rul.cv.interval.thirds"),
    }
    if has_both_heads(evidence):
        groups["held out, age unknown"] = evidence.figures.get(f"{WITHOUT_AGE}.all_rows.thirds")
    known = {name: thirds for name, thirds in groups.items() if thirds is not None and len(thirds) == 3}
    told = "; ".join(f"{name} {', '.join(f'{share:.0%}' for share in thirds)}" for name, thirds in known.items())
    return {"thirds": plots.thirds(known, level) if known else None, "thirds_alt": told}


def looked(evidence: Evidence) -> list[dict[str, Any]]:
    """The log of looks at the test machines, with a remark each."""
    remarks = looks.remarks(evidence.looks)
    return [
        {
            "look": look.look,
            "time": look.time,
            "data": look.parts["data"][:12],
            "choices": look.choices[:12],
            "commit": look.commit[:12] + "-dirty" * look.commit.endswith("-dirty"),
            "rmse": look.rmse,
            "remark": remark,
            "biased": look.look > 1,
        }
        for look, remark in zip(evidence.looks, remarks, strict=True)
    ]


def canaries(figures: Figures, unit: str) -> list[dict[str, Any]]:
    """Planted leaks and predictors that know nothing: whether each was caught."""
    return [
        {
            "name": name,
            "words": CANARIES.get(name, name.replace("_", " ")),
            "score": f"{number(of['score'])} {unit}",
            "chance": f"{number(of['chance'])} {unit}",
            "caught": of["caught"],
            "reason": "" if of["caught"] is not None else figures.reason(f"canaries.{name}.caught"),
        }
        for name, of in (figures.get("canaries") or {}).items()
    ]
