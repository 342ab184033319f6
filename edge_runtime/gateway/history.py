"""The observations that the journal still has of a class, in rows and columns of the twins that run now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from edge_runtime.batch import Batch
from edge_runtime.errors import JournalError
from edge_runtime.gateway.checkpoint import layout
from edge_runtime.gateway.layout import Layout, Translation
from edge_runtime.gateway.twins import Twins
from edge_runtime.journal.entries import unpack_batch
from edge_runtime.journal.work import Entry


class HasHistory(Protocol):
    """The part of the journal that is needed."""

    def history(self, asset_class: str, since_position: int) -> Iterator[Entry]: ...


def observed(
    journal: HasHistory, name: str, layouts: Sequence[Layout], twins: Twins, after: int = 0, upto: int | None = None
) -> Iterator[tuple[int, Batch]]:
    """Position and batch of the entries of class `name` from `after` on (not included) to `upto`, oldest first.

    `layouts` say how to read them, oldest first; those that are older than all layouts are passed over.
    """
    now = layout(twins, 0)
    translations = [(one.position, Translation(one, now)) for one in layouts]
    for entry in journal.history(name, after):
        if upto is not None and entry.position > upto:
            return
        fitting = [translation for position, translation in translations if position <= entry.position]
        batch = fitting[-1].batch(unpack_batch(entry.body)) if fitting else None
        if batch is not None:
            yield entry.position, batch


def observed_at(journal: HasHistory, name: str, layouts: Sequence[Layout], twins: Twins, position: int) -> Batch | None:
    """The batch journalled at `position`, None if it is not kept any more or cannot be read."""
    try:
        return next((batch for _, batch in observed(journal, name, layouts, twins, position - 1, position)), None)
    except JournalError:
        return None
