"""The report's plots, as SVG: the same numbers give the same bytes.

Colours can be told apart by colour-blind readers and in grey print. Plots take plain arrays; units stand on the axes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.wording import number, percent

INK, MUTED, GRID = "#1f2933", "#5b6770", "#dfe3e8"
SAID, BAND, MISSED = "#0b5cad", "#b9d5f0", "#c2410c"
LEVELS = {1: "#f0b429", 2: "#de6b0b", 3: "#a30f2d"}
WATCHED = "#d3d9df"
EDGE = 1.25  # of the cap: true lives beyond are drawn there
NAME = 16  # letters of a machine's name, beside its line
POINTS = 400  # of a curve: more than a plot can show

STYLE = {
    "svg.hashsalt": "overhaul",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


def svg(width: float, height: float) -> Callable[[Callable[..., None]], Callable[..., str]]:
    """Make a function that draws on axes into one that returns an SVG as a data URI; inches."""

    def decorate(draw: Callable[..., None]) -> Callable[..., str]:
        @wraps(draw)
        def made(*args: Any, height: float = height) -> str:
            with mpl.rc_context(STYLE):
                figure = Figure(figsize=(width, height), layout="constrained")
                draw(figure.add_subplot(), *args)
                file = io.BytesIO()
                figure.savefig(file, format="svg", metadata={"Date": None})
            return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()

        return made

    return decorate


@svg(5.6, 4.4)
def remaining_life(axes: Axes, scored: pd.DataFrame, cap: float, unit: str) -> None:
    """Predicted against true remaining life; `scored` has true_rul, rul, rul_lower, rul_upper and inside (bool)."""
    most = max(cap, min(float(scored.true_rul.max()), EDGE * cap)) * 1.04
    true = np.minimum(scored.true_rul, most * 0.99)  # what lies far beyond the cap is drawn at the edge
    if most > cap * 1.1:
        axes.axvspan(cap, most, color="#f3f5f7", lw=0)
        axes.text(most * 0.99, cap * 0.02, f"over {cap:g}:\nnot told\napart", ha="right", color=MUTED, fontsize=9)
    axes.plot([0, cap, most], [0, cap, cap], color=INK, lw=1, zorder=2)
    for inside, colour, marker in ((True, SAID, "o"), (False, MISSED, "D")):
        own = scored[scored.inside == inside]
        axes.vlines(true[own.index], own.rul_lower, np.minimum(own.rul_upper, cap), color=colour, lw=1, alpha=0.35)
        axes.plot(true[own.index], own.rul, marker, color=colour, ms=4 if inside else 5, mec="white", mew=0.5)
    axes.set(xlim=(0, most), ylim=(0, cap * 1.06))
    axes.set_xlabel(f"true remaining life ({unit})")
    axes.set_ylabel(f"predicted remaining life ({unit})")
    axes.text(most, cap * 1.01, "exactly right", color=INK, fontsize=9, ha="right", va="bottom")


@svg(3.6, 2.6)
def trajectory(axes: Axes, life: pd.DataFrame, cap: float, unit: str, named: bool) -> None:
    """One life; `life` has elapsed, truth (capped), rul, rul_lower, rul_upper and warm. `named`: label the lines."""
    life = thin(life)
    warm = life[life.warm]
    axes.fill_between(life.elapsed, life.rul_lower, np.minimum(life.rul_upper, cap), color=BAND, lw=0)
    axes.plot(life.elapsed, life.truth, color=INK, lw=1.2)
    axes.plot(warm.elapsed, warm.rul, color=SAID, lw=1.6)
    axes.set(xlim=(0, float(life.elapsed.max())), ylim=(0, cap * 1.06))
    axes.set_xlabel(f"{unit} on record")
    axes.set_ylabel(f"{unit} left")
    if named:
        for y, text, colour in ((0.30, "predicted", SAID), (0.20, "interval", "#4d86bd"), (0.10, "truth", INK)):
            axes.text(0.04, y, text, color=colour, fontsize=9, fontweight="bold", transform=axes.transAxes)


def thin(life: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS rows, evenly spread, with the first and the last."""
    if len(life) <= POINTS:
        return life
    return life.iloc[np.linspace(0, len(life) - 1, POINTS).round().astype(int)]


@svg(5.0, 4.0)
def reliability(axes: Axes, bins: pd.DataFrame, horizon: str) -> None:
    """Observed share of failures against predicted probability; `bins` as in `report.reliability`."""
    axes.plot([0, 1], [0, 1], color=INK, lw=1)
    known = bins[bins.low.notna()]
    axes.vlines(known.predicted, known.low, known.high, color=SAID, lw=1.5, alpha=0.5)
    axes.plot(bins.predicted, bins.observed, "o-", color=SAID, ms=6, lw=1.2, mec="white")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"predicted probability of failing within {horizon}")
    axes.set_ylabel("share that did")
    # Along the diagonal, whatever the shape of the axes.
    on_line: dict[str, Any] = {"rotation": 45, "transform_rotates_text": True, "rotation_mode": "anchor"}
    axes.text(0.04, 0.07, "exactly right", color=INK, fontsize=9, va="bottom", **on_line)


@dataclass(frozen=True)
class Mark:
    """A figure in a row of its own: what the twin `said`, or what it must beat."""

    name: str
    value: float | None
    spread: tuple[float, float] | None = None
    said: bool = False


@svg(5.2, 2.4)
def errors(axes: Axes, marks: Sequence[Mark], unit: str) -> None:
    """Errors in a row each, the first on top, with their confidence intervals; hollow: without sensors."""
    for place, mark in enumerate(reversed(marks)):
        if mark.spread:
            axes.plot(mark.spread, [place, place], color=SAID, lw=5, alpha=0.3, solid_capstyle="butt")
        look: dict[str, Any] = {"color": SAID} if mark.said else {"color": "white", "mec": MUTED, "mew": 1.5}
        axes.plot([mark.value], [place], "o" if mark.said else "s", ms=8 if mark.said else 7, zorder=3, **look)
        right = max(mark.value or 0, mark.spread[1] if mark.spread else 0)
        axes.annotate(
            number(mark.value), (right, place), (9, 0), textcoords="offset points", va="center", color=INK,
            fontweight="bold" if mark.said else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(marks)), [mark.name for mark in reversed(marks)])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    widest = max([mark.value or 0 for mark in marks] + [mark.spread[1] for mark in marks if mark.spread])
    axes.set(xlim=(0, 1.18 * widest or 1), ylim=(-0.6, len(marks) - 0.4))
    axes.set_xlabel(f"error ({unit}, RMSE): smaller is better")
    axes.grid(axis="y", visible=False)


@svg(5.2, 3.0)
def thirds(axes: Axes, groups: Mapping[str, Sequence[float]], level: float) -> None:
    """Coverage in each third of the predicted life, a line a group."""
    names = ["least life\npredicted", "middle\nthird", "most life\npredicted"]
    axes.axhline(level, color=INK, lw=1.2)
    axes.text(2.42, level, f"{percent(level)}\npromised", color=INK, fontsize=9, va="center")
    looks = zip(groups.items(), ((SAID, "o"), (LEVELS[2], "D"), (MUTED, "s")), (-0.06, 0.0, 0.06), strict=False)
    for (name, shares), (colour, marker), shift in looks:
        axes.plot(np.arange(3) + shift, shares, marker, color=colour, ms=7, mec="white", label=name, ls="-", lw=1)
    axes.set_xticks(range(3), names)
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    lowest = min(min(shares) for shares in groups.values())
    axes.set(xlim=(-0.3, 2.4), ylim=(min(0.5, lowest - 0.05), 1.02))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("interval holds")
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


@svg(5.2, 3.4)
def limits(axes: Axes, curve: pd.DataFrame, exposure: str) -> None:
    """Failures announced against false alarms, a point a limit of the failure probability (`alarming.curve`)."""
    axes.plot(curve.rate, curve.announced, "-", color=SAID, lw=1.2, alpha=0.6)
    own = curve[curve.declared]
    axes.plot(curve.rate, curve.announced, "o", color=SAID, ms=5, mec="white", mew=0.5)
    axes.plot(own.rate, own.announced, "D", color=MISSED, ms=9, mec="white", zorder=4)
    width = 1.14 * curve.rate.max() or 1
    named: list[tuple[float, float]] = []
    for limit in pd.concat([own, curve]).itertuples():  # where labels would lie over one another the table tells
        place = (limit.rate / width, limit.announced)
        if all(abs(place[0] - x) > 0.12 or abs(place[1] - y) > 0.06 for x, y in named):
            named.append(place)
            at = (limit.rate, limit.announced)
            axes.annotate(f"{limit.threshold:g}", at, (7, -11), textcoords="offset points", color=MUTED, fontsize=9)
    axes.set(xlim=(-0.02 * width, width), ylim=(-0.03, 1.05))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"false alarms per {exposure}")
    axes.set_ylabel("failures announced")


@svg(5.6, 3.6)
def drivers(axes: Axes, names: Sequence[str], shares: np.ndarray) -> None:
    """Horizontal bars, the largest on top; `shares` sum to 1 over all channels."""
    places = np.arange(len(names))[::-1]
    axes.barh(places, shares, color=SAID, height=0.68)
    for place, share in zip(places, shares, strict=True):
        axes.text(share, place, f" {percent(share)}", va="center", color=INK, fontsize=9)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, float(shares.max()) * 1.15)
    axes.grid(False)


@svg(6.2, 4.0)
def alarms(axes: Axes, lives: Sequence[tuple[str, np.ndarray, np.ndarray]], horizon: float, unit: str) -> None:
    """A line a life, (machine, to_end f64[T], level [T]) each, from its first to its last observation, coloured by
    level."""
    reach = _reach([(to_end, level) for _, to_end, level in lives], horizon)
    for place, (_, to_end, level) in enumerate(lives):
        axes.plot([to_end[0], to_end[-1]], [place, place], color=WATCHED, lw=1.2, solid_capstyle="butt")
        for first, stop in _runs(level):
            if level[first]:
                until = min(to_end[min(stop, len(to_end) - 1)], to_end[first] - reach / 200)  # a short one is seen too
                axes.plot([to_end[first], until], [place, place], color=LEVELS[level[first]], lw=3.2, zorder=3,
                          solid_capstyle="butt")  # fmt: skip
    axes.axvline(horizon, color=MUTED, lw=0.8, ls=(0, (4, 3)))
    axes.axvline(0, color=INK, lw=1.2)
    axes.set(xlim=(reach, -0.01 * reach), ylim=(-1, len(lives) + 0.6))
    names = [name if len(name) <= NAME else f"{name[: NAME - 1]}…" for name, _, _ in lives]
    axes.set_yticks(range(len(lives)), names, fontsize=7)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.text(horizon, len(lives) + 0.1, f"{horizon:g} left ", color=MUTED, fontsize=9, ha="right", va="center")
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{unit} before the failure")


def _runs(level: np.ndarray) -> list[tuple[int, int]]:
    """(first, past the last) of each stretch of one level."""
    edges = np.flatnonzero(np.diff(level, prepend=-1, append=-1))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _reach(lives: Sequence[tuple[np.ndarray, np.ndarray]], horizon: float) -> float:
    """How far back to show: four horizons, or to just before the first alarm."""
    first = [to_end[np.argmax(level > 0)] for to_end, level in lives if (level > 0).any()]
    longest = max(float(to_end[0]) for to_end, _ in lives)
    return min(max([4 * horizon, *(1.05 * float(f) for f in first)]), longest)
