"""What became of one canary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Canary:
    """`caught`: a planted leak was flagged, or what knows nothing scored like it; None = cannot be told, by `reason`.

    `score` and `chance` are cross-validated RMSE in the unit of life. Of a planted leak `score` is with it and `chance`
    without: how much it would have flattered. Otherwise `chance` is that of the mean label. `more` is the evidence.
    """

    score: float | None
    chance: float | None
    caught: bool | None
    more: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def dump(self) -> dict[str, Any]:
        made = {"score": self.score, "chance": self.chance, "caught": self.caught, **self.more}
        return made | ({"reason": self.reason} if self.reason else {})
