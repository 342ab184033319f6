"""The table of all figures of a report: metrics.json and cross_validation.json, each beside what it must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.measures.prognostics import ALPHA, LAMBDAS
from training.wording import UNKNOWN, number, percent

FAMILIES = {
    "lstm": "recurrent network (LSTM)",
    "xgboost": "boosted trees (XGBoost)",
    "blend": "blend of both, as exported",
}
HEADS = {"aged": "age known", "free": "age unknown"}


@dataclass(frozen=True)
class Figures:
    """metrics.json: figures by dotted name; one that is null has its reason."""

    values: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """The figure, or the section of figures; None where there is none."""
        at: Any = self.values
        for part in name.split("."):
            at = at.get(part) if isinstance(at, Mapping) else None
        return at

    def spread(self, name: str) -> tuple[float, float] | None:
        """Ends of the confidence interval of a figure; None where there is none."""
        found: Any = self.get(f"ci.{name}")
        return None if found is None else (found[0], found[1])

    def reason(self, name: str) -> str:
        """Why a figure is null."""
        return self.values.get("reasons", {}).get(name) or "not measured"


@dataclass(frozen=True)
class Row:
    """One figure in words. `to_beat`: what it must be measured against; `cross`: the same, cross-validated, and
    `cross_name` what that is called, where `name` does not tell."""

    name: str  # in metrics.json
    what: str
    value: str
    to_beat: str = ""
    cross: str = ""
    cross_name: str = ""
    note: str = ""
    spread: str = ""  # its confidence interval
    without_age: str = ""  # the same as if nobody knew the machines' ages


def rows(figures: Figures, level: float, unit: str, cap: float) -> list[Row]:
    """All figures but those of the families; the interval is to hold a share `level`."""

    def row(name: str, what: str, form: Any = number, to_beat: str = "", cross: str = "", note: str = "") -> Row:
        """`cross`: the name of the same, cross-validated."""
        value, section = figures.get(name), name.partition(".")[0]
        without = figures.get(name.replace(section, f"{section}.without_age", 1))
        ends = figures.spread(name)
        return Row(
            name,
            what,
            UNKNOWN if value is None else form(value),
            to_beat,
            cross=crossed(cross, form),
            cross_name=cross if cross != name.replace(section, f"{section}.cv", 1) else "",
            note=figures.reason(name) if value is None else note,
            spread=f"{form(ends[0])} to {form(ends[1])}" if ends else "",
            without_age="" if without is None else form(without),
        )

    def crossed(name: str, form: Any) -> str:
        value = figures.get(name) if name else None
        if value is None:
            return ""
        return form(value) + plus_minus(figures.get("rul.cv.se") if name == "rul.cv.rmse" else None)

    def life(value: float | None) -> str:
        return UNKNOWN if value is None else f"{number(value)} {unit}"

    def beat(name: str, words: str) -> str:
        value = figures.get(name)
        return f"{number(value)} {words}" if value is not None else f"{words}: {UNKNOWN}, {figures.reason(name)}"

    words = f"Within {ALPHA:.0%} of the truth"
    horizon = number(figures.get("failure.horizon"))
    guesses = f"{beat('rul.null.age', 'from age alone')}; {beat('rul.null.mean', 'always saying the average')}"
    far = f"{beat('rul.null.age_uncapped', 'from age alone')}; {beat('rul.null.mean_uncapped', 'the average')}"
    never = f"the twin never predicts above {cap:g}"
    once, every = "each held-out life once, at a moment fixed beforehand", "every moment after warm-up"
    return [
        row(
            "rul.rmse",
            "Error of the remaining life (RMSE)",
            life,
            guesses,
            note=f"{once}; truth capped at {cap:g}",
        ),
        row("rul.rmse_uncapped", "… against the uncapped truth", life, far, note=never),
        row("rul.mae", "… its mean (MAE)", life, note=f"truth capped at {cap:g}"),
        row("rul.mae_uncapped", "… against the uncapped truth", life, note=never),
        row(
            "rul.below_cap.rmse",
            "Error where less than the cap was left (RMSE)",
            life,
            note=f"{whole(figures.get('n.lives_below_cap') or 0)} lives; of the others it is enough to say the cap",
        ),
        row("rul.below_cap.mae", "… its mean (MAE)", life),
        row("rul.nasa_score", "NASA score", note="sum over lives, late predictions cost more; lower is better"),
        row("rul.nasa_score_uncapped", "… against the uncapped truth"),
        row(
            "rul.all_rows.rmse",
            "Error at every moment (RMSE)",
            life,
            cross="rul.cv.rmse",
            note=f"{every}, machines weighted equally",
        ),
        row(
            "rul.all_rows.coverage",
            "The interval holds",
            percent,
            f"{percent(level)} promised",
            "rul.cv.interval.coverage",
            note=f"{every}, machines weighted equally",
        ),
        row(
            "rul.all_rows.width",
            "Width of the interval",
            life,
            cross="rul.cv.interval.width",
            note=f"one that is open at the top counts as if it ended at {cap:g}",
        ),
        row(
            "rul.all_rows.closed_width",
            "… of those that have an upper end",
            life,
            cross="rul.cv.all_rows.closed_width",
        ),
        row(
            "rul.all_rows.open",
            "Interval open at the top",
            percent,
            cross="rul.cv.interval.open",
            note=f"shown as “more than {cap:g}”",
        ),
        row(
            "rul.all_rows.thirds",
            "The interval holds, by third of the predicted life",
            shares,
            f"{percent(level)} promised",
            "rul.cv.interval.thirds",
            note="least, middle, most life predicted",
        ),
        row(
            "rul.all_rows.badly_covered",
            "Machines outside the interval most of the time",
            percent,
            cross="rul.cv.interval.badly_covered",
        ),
        row("rul.interval.coverage", "The interval holds, each life once", percent, note=once),
        row("rul.interval.width", "… its width", life, note=once),
        row("rul.interval.closed_width", "… of those that have an upper end", life),
        *(
            row(
                f"rul.alpha_lambda{protocol}.at_{at}",
                f"{words} at {at} % of the way to the failure" if not protocol else "… against the uncapped truth",
                percent,
                cross=f"rul.cv.alpha_lambda{protocol}.at_{at}",
                note=f"of {whole(figures.get(f'rul.alpha_lambda{protocol}.lives_at_{at}') or 0)} lives that reach it",
            )
            for at in (round(100 * share) for share in LAMBDAS)
            for protocol in ("", "_uncapped")
        ),
        row(
            "rul.prognostic_horizon.median",
            "Prognostic horizon",
            life,
            cross="rul.cv.prognostic_horizon.median",
            note="median over lives watched to their failure; the longest possible is the cap",
        ),
        row(
            "failure.pr_auc",
            f"Ranking of failures within {horizon} {unit} (PR-AUC)",
            to_beat=beat("failure.null_pr_auc", "by chance"),
            cross="failure.cv.pr_auc",
            note="1 is perfect; higher is better",
        ),
        row(
            "failure.brier",
            "Error of the failure probability (Brier)",
            to_beat=beat("failure.null_brier", "always saying the average"),
            cross="failure.cv.brier",
            note="0 is perfect; lower is better",
        ),
        row("n.machines", "Machines held out", whole, cross="n.cv.machines"),
        row("n.lives", "Lives held out", whole),
        row("n.failures", "… whose failure is known", whole),
        row("n.lives_scored", "… scored", whole),
        row("n.lives_left_out", "… left out", whole, note="their end is not known, or they never warmed up"),
        row("n.rows", "Moments held out", whole, cross="n.cv.rows"),
        row(
            "n.rows_left_out",
            "… left out",
            whole,
            cross="n.cv.rows_left_out",
            note="their remaining life is only known to exceed something",
        ),
        row("n.looks", "Different looks at the machines held out", whole, note="1 = the figures are unbiased"),
        row(
            "parity.within_tolerance",
            "Exported graph says what the models said",
            lambda share: f"{100 * share:.2f} % of moments",
            note=f"largest difference {number(figures.get('parity.max_abs_error'))} {unit}",
        ),
    ]


def family_rows(figures: Figures, cross: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each family that predicts remaining life: test RMSE, and by head its weight and cross-validated RMSE."""
    made = []
    for family, words in FAMILIES.items():
        heads = [
            {
                "weight": percent(of["weights"][family]) if family in of["weights"] else "",
                "rmse": number(of[family]["rmse"]) + plus_minus(of[family]["se"]),
            }
            for of in cross.values()
        ]
        test = figures.get(f"rul.per_model.{family}.rmse")
        made.append({"words": words, "test": number(test), "heads": heads, "is_blend": family == "blend"})
    return made


def plus_minus(se: float | None) -> str:
    return "" if se is None or se != se else f" ± {number(se, 2)}"


def shares(values: list[float]) -> str:
    """
    >>> shares([0.9, 0.95, 1.0])
    '90 %, 95 %, 100 %'
    """
    return ", ".join(percent(value) for value in values)


def whole(value: float) -> str:
    return f"{value:,.0f}"
