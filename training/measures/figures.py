"""Figures by dotted name."""

from __future__ import annotations

from typing import Any

import numpy as np

Value = float | list[float] | None


class Figures:
    """Nested figures; what cannot be computed is null, with the reason under `reasons`.

    >>> figures = Figures()
    >>> figures.set("rul.rmse", 2.5)
    >>> figures.set("rul.null.age", None, "the age of the machines is not known")
    >>> figures.values, figures.reasons
    ({'rul': {'rmse': 2.5, 'null': {'age': None}}}, {'rul.null.age': 'the age of the machines is not known'})
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def set(self, name: str, value: Value, reason: str = "") -> None:
        """Raises `ValueError` for a null without a reason, and for what is no number: JSON has neither."""
        *sections, last = name.split(".")
        at = self.values
        for section in sections:
            at = at.setdefault(section, {})
        if value is None and not reason:
            raise ValueError(f"figure {name} is null: say why, so that nobody takes it for a zero")
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"figure {name} is {value}: say null, with the reason, where nothing can be computed")
        at[last] = value
        if value is None:
            self.reasons[name] = reason

    def unknown(self, prefix: str, names: list[str], reason: str) -> None:
        """All of `names` below `prefix` are null for the same reason."""
        for name in names:
            self.set(f"{prefix}.{name}", None, reason)
