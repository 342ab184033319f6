"""What the engine hands to the journal, and what it gets back after a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.sources.source import Source

SAMPLES = "samples"  # what came in for a class that assembles, before its window closes
OBSERVATIONS = "observations"  # one batch as given to `Fleet.advance`
BUNDLE = "bundle"  # the class goes on with another bundle
ASSIGNMENT = "assignment"  # the centre has told something about a machine


class Entry(NamedTuple):
    """`position` counts from 1, without gaps; `body` is of `entries`."""

    position: int
    kind: str
    asset_class: str
    model_id: str
    body: bytes


class Checkpoint(NamedTuple):
    """All that is needed to go on after `position`: name → opaque bytes ("pump/fleet", "occurrences", …)."""

    position: int
    parts: Mapping[str, bytes]


@dataclass
class Work:
    """What is committed together or not at all.

    `receipts` are acknowledged once it is committed. `cursor`: up to this position, observations have gone into blocks
    (of this or earlier Works). `urgent`: somebody waits for the commit, as for an alarm. `shed`: messages, and their
    bytes, that it lost while it waited; counted when it is committed, for otherwise all of it comes again. `replaces`:
    its messages stand for one of the spool, which goes when they are committed; they are not given up meanwhile.
    """

    entries: list[Entry] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)
    receipts: list[tuple[Source, Any]] = field(default_factory=list)
    cursor: int | None = None
    checkpoint: Checkpoint | None = None
    urgent: bool = False
    shed: dict[Lane, tuple[int, int]] = field(default_factory=dict)
    replaces: bool = False

    def size(self) -> int:
        """Bytes it holds in memory, about."""
        size = 200 + 100 * (len(self.entries) + len(self.messages) + len(self.receipts))
        size += sum(len(entry.body) for entry in self.entries) + sum(len(m.body) for m in self.messages)
        if self.checkpoint is not None:
            size += sum(map(len, self.checkpoint.parts.values()))
        return size


@dataclass(frozen=True)
class Recovered:
    """Where the gateway left off: go on from `checkpoint` (None: from nothing) by replaying `entries`, all after it.

    `cursor`: observations up to it are in committed blocks. `next_position` is for the next entry. `epoch` is the
    spool's, in UTC seconds. `moved_aside`: a database that was put away, damaged or with `other_version` of
    another version's making, for people to look at.
    """

    checkpoint: Checkpoint | None
    entries: Iterator[Entry]
    cursor: int
    next_position: int
    epoch: int
    moved_aside: Path | None = None
    other_version: bool = False
