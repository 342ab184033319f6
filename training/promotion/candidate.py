"""A version that is judged, and what is said of it by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.bundle import Bundle
from training.machine_errors import MachineErrors

PASSED, FAILED, OFF = "passed", "failed", "off"
UNKNOWN, NONE = "unknown", "none"  # a figure that is not there; there is no champion
# Of the figures of each head: of the class's own, and of the one that is free of age. In words for people.
HEADS = {"": "", ".without_age": ", age unknown"}


@dataclass(frozen=True)
class Judgement:
    """One rule. `champion`, `challenger` and `limit` are for people; `why` says how it was judged, or what to do."""

    rule: str
    champion: str
    challenger: str
    limit: str
    state: str
    why: str = ""

    @property
    def line(self) -> str:
        """In one line, as in the tags of the version."""
        figures = f"{self.challenger or UNKNOWN} (champion {self.champion or NONE}, limit {self.limit or NONE})"
        return f"{self.state}: " + (self.why if self.state == OFF else f"{figures}; {self.why}".removesuffix("; "))


def state(passed: bool) -> str:
    return PASSED if passed else FAILED


@dataclass(frozen=True)
class Candidate:
    """A version of the registry whose bundle has passed its self-test here. `us`: measured, a machine in one call."""

    version: str
    bundle: Bundle
    errors: MachineErrors | None
    us: float | None = None

    @classmethod
    def load(cls, version: str, bundle: Bundle) -> Candidate:
        return cls(version, bundle, MachineErrors.read(bundle.folder))

    @property
    def data_hash(self) -> str | None:
        return self.bundle.manifest.provenance.data_hash

    def get(self, name: str) -> Any:
        """What the manifest's quality says under the dotted `name`; None if nothing."""
        at: Any = self.bundle.manifest.quality
        for part in name.split("."):
            at = at.get(part) if isinstance(at, Mapping) else None
        return at

    def figure(self, name: str) -> float | None:
        value = self.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def lacks(self, name: str) -> str:
        """Why a figure is not there."""
        reason = (self.get("reasons") or {}).get(name)
        return f"{name}: " + (reason or "the bundle says nothing of it: export it again with this version of overhaul")

    def never_said(self, name: str) -> str:
        """The same of a champion, whose bundle cannot be changed any more."""
        return (
            f"the champion's bundle does not say {name}: if it never will, take its alias 'champion' away, then the "
            "absolute limits judge alone"
        )

    def has_head(self, i: int) -> bool:
        """Whether there is an i-th head to judge: a first one always."""
        named = self.figure(f"rul{[*HEADS][i]}.cv.rmse") is not None
        return i == 0 or named or bool(self.errors and len(self.errors.heads) > i)


def shown(candidate: Candidate | None, name: str, form: str = ".4g") -> str:
    if candidate is None:
        return NONE
    value = candidate.figure(name)
    return UNKNOWN if value is None else f"{value:{form}}"


def heads(challenger: Candidate, champion: Candidate | None) -> list[int]:
    """Those that either has: one that was lost is missed."""
    return [i for i in range(len(HEADS)) if any(each.has_head(i) for each in (challenger, champion) if each)]
