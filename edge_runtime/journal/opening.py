"""Opens the database after whatever ended the last run.

A damaged file is moved aside, never deleted by us but for all except the last two, and what can be read of it goes into
a new one. That has a new epoch: its seqs begin anew. So it is with a file whose tables are those of an older version.
Everything a restart needs is read and checked here, so that it cannot fail later on.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Lane
from edge_runtime.errors import JournalError
from edge_runtime.journal import checkpoint, spool, store
from edge_runtime.journal.database import (
    ERRORS,
    SIDE_FILES,
    OtherVersionError,
    connect_writer,
    is_damage,
    sync_folder,
)
from edge_runtime.journal.files import Files
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.salvage import salvage
from edge_runtime.journal.settings import SpoolSettings
from edge_runtime.journal.spool import Spool
from edge_runtime.journal.work import Checkpoint

logger = logging.getLogger(__name__)

SECOND = 10**9
_KEPT = 2  # damaged databases


@dataclass(frozen=True)
class Opened:
    """`position` of the newest entry. `moved_aside`: where a database lies that is damaged, or with `other_version` was
    written by another version; `salvaged`: rows saved from it.
    """

    connection: sqlite3.Connection
    ledger: Ledger
    spool: Spool
    checkpoint: Checkpoint | None
    position: int
    moved_aside: Path | None = None
    salvaged: int = 0
    other_version: bool = False


def open_database(path: Path, settings: SpoolSettings, clock: Clock) -> Opened:
    """`JournalError` if the file cannot be opened at all; the caller holds the lock."""
    fresh = _beside(path, ".new")
    if fresh.exists() and not path.exists():  # the power went while a damaged one was replaced
        fresh.rename(path)
    try:
        mark = _beside(path, ".is-damaged")
        if mark.exists():
            raise sqlite3.DatabaseError(mark.read_text(encoding="utf-8", errors="replace"))
        return _open(path, _beside(path, ".epoch"), settings, clock)
    except (*ERRORS, OSError) as error:
        if is_damage(error):
            return _replace(path, settings, clock, error)
        raise JournalError(f"{path} cannot be opened: {error}: check the disk and the folder") from error


def mark_damaged(path: Path, reason: str) -> None:
    """It was found out while running: the next `open_database` moves it aside."""
    try:
        _beside(path, ".is-damaged").write_text(reason, encoding="utf-8")
    except OSError:
        logger.exception("the damage of %s could not be noted down", path)


def _open(path: Path, epochs: Path, settings: SpoolSettings, clock: Clock) -> Opened:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if _beside(path, "-wal").exists():
        with closing(Files(path)) as files:
            files.renew()
    connection = connect_writer(path)
    try:
        ledger = Ledger(connection)
        if not ledger["epoch"]:
            _begin_epoch(connection, ledger, epochs, clock)
        newest = checkpoint.read(connection, ledger)
        position = 0 if newest is None else newest.position
        for entry in store.after(connection, position):
            position = entry.position
        for lane in Lane:
            spool.read(connection, 0, lane, 0, ledger[f"{spool.name(lane)}.last"], 1, 0)
    except BaseException:
        connection.close()
        raise
    return Opened(connection, ledger, Spool(ledger, settings, ledger["epoch"]), newest, position)


def _begin_epoch(connection: sqlite3.Connection, ledger: Ledger, epochs: Path, clock: Clock) -> None:
    """UTC seconds, but more than the last one: many a gateway has no clock of its own and wakes up in 1970."""
    try:
        last = int(epochs.read_text(encoding="ascii"))
    except (OSError, ValueError):
        last = 0
    epoch = max(clock.utc() // SECOND, last + 1)
    temporary = _beside(epochs, ".new")
    temporary.touch(mode=0o600)
    with temporary.open("w", encoding="ascii") as file:
        file.write(str(epoch))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(epochs)
    sync_folder(epochs.parent)
    ledger["epoch"] = epoch
    connection.execute("BEGIN IMMEDIATE")
    ledger.save(connection)
    connection.execute("COMMIT")
    ledger.survive(ledger.settle())


def _replace(path: Path, settings: SpoolSettings, clock: Clock, reason: Exception) -> Opened:
    """Fill a new database from the one that cannot be used, and put it in its place when it is complete."""
    old = isinstance(reason, OtherVersionError)
    found = "was written by another version of this software" if old else "is damaged"
    logger.error("the journal %s %s: %s", path, found, reason)
    fresh = _beside(path, ".new")
    for end in ("", *SIDE_FILES):
        _beside(fresh, end).unlink(missing_ok=True)
    opened = _open(fresh, _beside(path, ".epoch"), settings, clock)
    saved = salvage(path, opened.connection, opened.ledger, opened.spool, clock.utc())
    opened.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.connection.close()
    aside = _move_aside(path, clock.utc() // SECOND, "other-version" if old else "damaged")
    fresh.rename(path)
    sync_folder(path.parent)
    _beside(path, ".is-damaged").unlink(missing_ok=True)
    logger.error("the journal that %s lies in %s; %d entries and messages of it were saved", found, aside, saved)
    opened = _open(path, _beside(path, ".epoch"), settings, clock)
    return replace(opened, moved_aside=aside, salvaged=saved, other_version=old)


def _move_aside(path: Path, stamp: int, why: str) -> Path:
    damaged = f"{path.name}.{why}-"
    found = {old.name.removesuffix("-wal").removesuffix("-shm") for old in path.parent.glob(damaged + "*")}
    number = max((int(n.removeprefix(damaged).split("-")[0]) for n in found), default=0)
    for name in sorted(found)[: 1 - _KEPT or None]:
        for end in ("", *SIDE_FILES):
            path.with_name(name + end).unlink(missing_ok=True)
    aside = path.with_name(f"{damaged}{max(stamp, number + 1)}")
    for end in ("", *SIDE_FILES):
        if _beside(path, end).exists():
            _beside(path, end).rename(_beside(aside, end))
    return aside


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
