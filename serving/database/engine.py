"""The connection to the database: transactions that are durable when they return, and which errors mean "try again"."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from serving.database.settings import DatabaseSettings
from serving.errors import AwayError, DoubtError

_CHECKPOINT = 8000  # pages of the log, 31 MiB: pages that many transactions change are written back once


class Database:
    """One pool of connections; for use by many threads. Nothing is opened before the first transaction."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.sqlite = settings.sqlite
        self.engine = _sqlite(settings) if self.sqlite else _postgresql(settings)
        self._writers = threading.Lock()

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, committed and on disk at the end; rolled back if the block raises.

        `DoubtError` where nobody can say which: the connection broke at the end.

        In SQLite there is one writer at a time: it has the database for itself from the beginning on.
        """
        # Threads wait here in turn; SQLite itself would let them poll, and starve some.
        turn = self._writers if self.sqlite else contextlib.nullcontext()
        with (
            turn,
            self.engine.connect().execution_options(write=True) as connection,
            connection.begin() as transaction,
        ):
            yield connection
            try:
                transaction.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise DoubtError(f"the connection to the database broke at the end: {error.orig}") from error
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads, and in SQLite sees one state of the database."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def is_away(error: BaseException) -> bool:
    """Whether the database cannot be reached, is busy or full: the same again may work later."""
    if isinstance(error, AwayError | PoolTimeoutError | InterfaceError | OperationalError):
        state = getattr(getattr(error, "orig", None), "sqlstate", None)
        return not (state or "").startswith("54")  # a limit of PostgreSQL itself: too much for it now and always
    return isinstance(error, DBAPIError) and error.connection_invalidated


@contextlib.contextmanager
def away() -> Iterator[None]:
    """Turn what `is_away` into an `AwayError` that says so."""
    try:
        yield
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        reason = str(getattr(error, "orig", None) or error).strip()
        raise AwayError(f"the database cannot be used now: {reason}; check its url, and that it runs") from error


def _sqlite(settings: DatabaseSettings) -> Engine:
    engine = create_engine(settings.target(), connect_args={"timeout": settings.busy}, pool_size=settings.pool)

    @event.listens_for(engine, "do_connect")
    def private(_dialect: Any, _record: Any, _arguments: Any, _options: Any) -> None:
        path = Path(settings.target().database or "")
        try:
            path.touch(mode=0o600)
        except OSError as error:
            if not path.is_file():  # else connecting tells whether it can be used
                way_out = "make its folder, or check its url"
                raise AwayError(f"the database {path} cannot be made ({error.strerror}): {way_out}") from error

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # else sqlite3 begins transactions by itself, and not always
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # committed is on disk: gateways forget what we have acknowledged
            f"wal_autocheckpoint = {_CHECKPOINT}",
            f"cache_size = -{settings.cache * 1024}",
            "foreign_keys = ON",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")

    return engine


def _postgresql(settings: DatabaseSettings) -> Engine:
    arguments = {
        "connect_timeout": max(2, round(settings.connect)),
        "options": f"-c statement_timeout={round(settings.statement * 1000)}",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "application_name": "overhaul",
    }
    return create_engine(
        settings.target(), connect_args=arguments, pool_size=settings.pool, max_overflow=settings.pool, pool_timeout=30
    )
