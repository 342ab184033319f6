"""What can still be read of a damaged database goes into the new one.

A flipped bit rarely hits what matters: the states of the twins, the entries after them and most messages are mostly
there. Messages get new seqs under the new epoch; the centre knows those it has by their business keys.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.journal import checkpoint, spool, store
from edge_runtime.journal.database import ERRORS, connect_reader
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.spool import Spool
from edge_runtime.journal.work import Entry

logger = logging.getLogger(__name__)

T = TypeVar("T")
_PAGE, _PAGE_BYTES = 64, 1 << 20


def salvage(damaged: Path, connection: sqlite3.Connection, ledger: Ledger, spooler: Spool, now: int) -> int:
    """Copy into the empty database of `connection`; how many entries and messages were saved. Whatever it finds."""
    old = _attempt(lambda: connect_reader(damaged))
    if old is None:
        return 0
    try:
        numbers = _attempt(lambda: Ledger(old))
        saved = 0 if numbers is None else _copy_state(old, numbers, connection, ledger, now)
        for lane in Lane:
            last = _last(old, lane) if numbers is None else numbers[f"{spool.name(lane)}.last"]
            for messages in _messages(old, lane, last):
                connection.execute("BEGIN IMMEDIATE")
                spooler.add(connection, messages)
                _commit(connection, ledger)
                saved += len(messages)
    finally:
        old.close()
    return saved


def _copy_state(
    old: sqlite3.Connection, numbers: Ledger, connection: sqlite3.Connection, ledger: Ledger, now: int
) -> int:
    """Checkpoint and the entries after it, up to the first that is damaged: only these continue the states."""
    newest = _attempt(lambda: checkpoint.read(old, numbers))
    if newest is None and numbers[checkpoint.TIME]:
        return 0
    start = 0 if newest is None else newest.position
    entries = list(_until_damaged(store.after(old, start)))
    connection.execute("BEGIN IMMEDIATE")
    store.append(connection, ledger, entries, now)
    if newest is not None:
        checkpoint.write(connection, ledger, newest, now)
    # What is lost gets its position again, and is not in blocks then.
    ledger["cursor"] = min(numbers["cursor"], start + len(entries))
    _commit(connection, ledger)
    return len(entries)


def _until_damaged(entries: Iterator[Entry]) -> Iterator[Entry]:
    try:
        yield from entries
    except ERRORS as error:
        logger.warning("not all entries of the old journal can be read: %s", error)


def _last(old: sqlite3.Connection, lane: Lane) -> int:
    return _attempt(lambda: int(old.execute(f"SELECT max(seq) FROM {spool.name(lane)}").fetchone()[0] or 0)) or 0


def _messages(old: sqlite3.Connection, lane: Lane, last: int) -> Iterator[list[Outgoing]]:
    """What can be read, in order. Over what cannot, it steps wider and wider: damage comes in runs."""
    after, limit, step = 0, _PAGE, 1
    while after < last:
        found = _attempt(lambda: spool.read(old, 0, lane, after, last, limit, _PAGE_BYTES))  # noqa: B023 - called at once
        if found is None and limit > 1:
            limit = 1
        elif found is None:
            after, step = after + step, 2 * step
        elif not found or found[-1].seq <= after:
            return
        else:
            yield [spooled.message for spooled in found]
            after, limit, step = found[-1].seq, _PAGE, 1


def _commit(connection: sqlite3.Connection, ledger: Ledger) -> None:
    ledger.save(connection)
    connection.execute("COMMIT")
    ledger.survive(ledger.settle())


def _attempt(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (*ERRORS, TypeError, ValueError) as error:  # a damaged row may hold anything
        logger.debug("not readable: %s", error)
        return None
