"""The database file: its tables, how connections to it are set, and its lock.

Choices, each for flash and for slow disks:

* WAL: a commit is one sequential write. `wal_autocheckpoint=0`: the writer never copies the log back, `wal` does.
* `auto_vacuum=NONE`: freed pages are used again and never moved, which would write them once more. The file stays at
  the most it ever held, which the settings bound.
* `secure_delete=0`: Debian's SQLite otherwise overwrites all it deletes.
* Pages of 1 KiB: a commit writes the pages it touched, and an alarm touches three. Measured, one alarm with its
  observation a commit: 9.8 kB to the disk, log and copy together; 18.6 kB with pages of 4 KiB, 8.7 kB with 512 bytes.
  Messages of 2 kB fill the file to 94 % (with 4 KiB: to 50 %); those of 48 kB cost no more time.
* Each lane has a table of its own, and samples are apart from observations: rows are added at the end and deleted from
  the beginning, so whole pages are filled and freed.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from edge_runtime.contract.message import Lane
from edge_runtime.errors import JournalError

FORMAT = 1  # goes up with every change of the tables
APPLICATION = 0x4F56484A  # "OVHJ"
PAGE = 1024
LOG_KEPT = 8 << 20  # a log that grew larger is cut to this when it begins anew
_OF_THE_MOMENT = ("disk I/O", "is full", "locked", "unable to open", "readonly", "interrupted", "memory")


class OtherVersionError(sqlite3.DatabaseError):
    """The file is whole, but its tables are those of another version of this software."""


ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the latter where a message quotes what is damaged
SIDE_FILES = ("-wal", "-shm")

_ENTRIES = (
    "CREATE TABLE {} (position INTEGER PRIMARY KEY, t INTEGER NOT NULL, kind TEXT NOT NULL, asset_class TEXT NOT NULL, "
    "model_id TEXT NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL)"
)
_MESSAGES = (
    "CREATE TABLE {} (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, asset TEXT, t INTEGER NOT NULL, "
    "t_rx INTEGER NOT NULL, content TEXT NOT NULL, size INTEGER NOT NULL, model_id TEXT, "
    "synced INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL)"
)
_SCHEMA = (
    "CREATE TABLE ledger (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE checkpoint (name TEXT PRIMARY KEY, crc INTEGER NOT NULL, body BLOB NOT NULL)",
    _ENTRIES.format("entries"),
    _ENTRIES.format("samples"),
    *(_MESSAGES.format(lane.name.lower()) for lane in Lane),
)


def connect_writer(path: Path) -> sqlite3.Connection:
    """The only connection that writes; makes the tables in an empty file. `sqlite3.DatabaseError` if it is damaged."""
    connection = _connect(path)
    try:
        connection.execute(f"PRAGMA page_size={PAGE}")  # of a new file
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # while it is opened; see `leave_syncing`
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={LOG_KEPT}")
        connection.execute("PRAGMA secure_delete=0")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA cache_size=-4096")
        _check_format(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def leave_syncing(connection: sqlite3.Connection) -> None:
    """From now on `sync` makes commits durable. SQLite still syncs when the log is copied back or begun anew."""
    connection.execute("PRAGMA synchronous=NORMAL")


def connect_copier(path: Path) -> sqlite3.Connection:
    """For copying the log back."""
    connection = _connect(path)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """For one thread that only reads."""
    connection = _connect(path)
    try:
        connection.execute("PRAGMA query_only=1")
        connection.execute("PRAGMA cache_size=-512")  # what is read is read once
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # Transactions are begun by hand; close() may be called by another thread.
    return sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version > FORMAT:
        raise JournalError(
            f"{path} is of format {version}, this software writes {FORMAT}: install the newer one, or move the file"
        )
    if tables == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute("COMMIT")
        sync_folder(path.parent)
    elif version == 0:
        raise sqlite3.DatabaseError(f"it has {tables} tables, but no format")
    else:
        _check_tables(connection, version)


def _check_tables(connection: sqlite3.Connection, version: int) -> None:
    """Before anything is read: what misses a column is old, and not damaged."""
    with closing(sqlite3.connect(":memory:")) as model:
        for statement in _SCHEMA:
            model.execute(statement)
        ours = _columns(model)
    theirs = _columns(connection)
    missing = [
        f"{table}.{name}" for table, names in ours.items() for name in names if name not in theirs.get(table, [])
    ]
    if missing or version != FORMAT:
        lacks = f", without {', '.join(missing[:3])}" if missing else ""
        raise OtherVersionError(f"it is of format {version}{lacks}; this version writes format {FORMAT}")


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    return {
        table: [name for _, name, *_ in connection.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall()]
        for table in tables
    }


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken; other errors are of the disk, of the moment, or of the caller."""
    if isinstance(error, sqlite3.OperationalError):  # "no such table", "Could not decode to UTF-8", …
        return not any(words in str(error) for words in _OF_THE_MOMENT)
    return type(error) in (
        OtherVersionError,
        sqlite3.DatabaseError,
        sqlite3.IntegrityError,
        sqlite3.DataError,
        UnicodeDecodeError,
    )


def sync_folder(folder: Path) -> None:
    """Names of new files survive a power cut only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderLock:
    """One gateway to a database. The lock goes with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(
                f"{self._path.parent} cannot be written: {error.strerror}. It has to be a folder of user {os.geteuid()}"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise JournalError(
                f"{self._path.parent} is in use by another gateway (process {owner}): stop it, or give this one a data "
                "folder of its own"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
