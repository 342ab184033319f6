"""Which features each model family looks at, by name."""

from __future__ import annotations

from training.dataset import Part


def lstm(part: Part) -> list[int]:
    """Free of age: all averages and trends, the step length. It has memory, yet learns far better with theirs."""
    return [i for i, name in enumerate(part.names[: part.free_of_age]) if not name.endswith(".last")]


def isolation_forest(part: Part) -> list[int]:
    """Free of age: the last value and the fastest average of each sensor."""
    fastest = _fastest(part)
    return [
        i
        for i, name in enumerate(part.names[: part.free_of_age])
        if name.endswith((".last", fastest)) and not name.startswith("health_index.")
    ]


def emphasised(part: Part, head: str) -> list[int]:
    """The age, as a place among the head's columns (`Part.columns`): trees nearly always see it."""
    return [place for place, i in enumerate(part.columns(head)) if part.names[i] == "clock.age"]


def _fastest(part: Part) -> str:
    """Suffix of the fastest moving average."""
    taus = [float(name.rpartition("_")[2]) for name in part.names[: part.free_of_age] if ".ewma_" in name]
    return f".ewma_{min(taus):g}"
