"""What became of a canary, and of all: artifacts/<fleet>/canaries.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data import paths

FIGURES = ("score", "chance", "caught")


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


def path(fleet: str) -> Path:
    return paths.artifact(fleet, "canaries.json")


def write(fleet: str, canaries: Mapping[str, Canary]) -> None:
    path(fleet).write_text(json.dumps({name: of.dump() for name, of in canaries.items()}, indent=1) + "\n")


def with_canaries(figures: Mapping[str, Any], fleet: str) -> dict[str, Any]:
    """`figures` and `canaries.<name>.{score,chance,caught}`; one that is null has its reason under `reasons`."""
    told = json.loads(path(fleet).read_text())
    canaries = {name: {key: of[key] for key in FIGURES} for name, of in told.items()}
    reasons = {f"canaries.{n}.{key}": told[n]["reason"] for n, of in canaries.items() for key in of if of[key] is None}
    return {**figures, "canaries": canaries, "reasons": {**figures.get("reasons", {}), **reasons}}
