"""The version of the tables: made and updated by Alembic, checked by everything that starts."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from serving.database.engine import Database, away
from serving.errors import SchemaError

_UPGRADE = "run python -m serving.database upgrade with the same --config"
_LOCK = 0x6F766572  # of PostgreSQL: one process updates at a time


def upgrade(database: Database, revision: str = "head") -> None:
    """Make or update the tables, in one transaction; nothing happens if they are up to date."""
    with away(), database.write() as connection:
        if not database.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        command.upgrade(_config(connection), revision)


def check(database: Database) -> None:
    """`SchemaError` unless the tables are those that this version of the program knows."""
    with away(), database.read() as connection:
        found, wanted = current(connection), head()
    if found is None:
        raise SchemaError(f"the database has no tables: {_UPGRADE}")
    if found != wanted:
        known = {script.revision for script in _scripts().walk_revisions()}
        way_out = _UPGRADE if found in known else "update this program: it is older"
        raise SchemaError(f"the tables are of version {found}, this program needs {wanted}: {way_out}")


def current(connection: Connection) -> str | None:
    """The version of the tables; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The version this program needs."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(None))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
