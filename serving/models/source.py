"""Where bundles are offered. A source only looks; the catalogue loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Offer:
    """One version of a fleet's bundle. `fetch` brings it to a folder here; `mark` changes when its content does."""

    name: str
    version: str
    mark: str
    fetch: Callable[[], Path]
    aliases: tuple[str, ...] = ()
    default: bool = False
    run_id: str | None = None


class Source(Protocol):
    def look(self) -> Sequence[Offer]:
        """All that is there now; `ServingError` if the source cannot be asked."""
        ...
