"""The migrations make the tables that the code knows."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from serving.database.engine import Database
from serving.database.schema import check, current, head, upgrade
from serving.database.settings import DatabaseSettings
from serving.database.tables import metadata
from serving.errors import AwayError, SchemaError


def test_migrations_and_tables_agree(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_a_difference_would_be_seen(database):
    with database.write() as connection:
        connection.execute(text("ALTER TABLE acks ADD COLUMN more INTEGER"))
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata)


def test_upgrading_again_changes_nothing(database):
    upgrade(database)
    check(database)
    with database.read() as connection:
        assert current(connection) == head()


def test_no_tables(tmp_path):
    database = Database(DatabaseSettings(url="sqlite:///new.db", folder=tmp_path))
    with pytest.raises(SchemaError, match=r"has no tables: run python -m serving\.database upgrade"):
        check(database)
    database.close()


def test_other_versions(database):
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match=r"version 9999, this program needs .*: update this program"):
        check(database)


def test_no_folder(tmp_path):
    database = Database(DatabaseSettings(url="sqlite:///nowhere/new.db", folder=tmp_path))
    with pytest.raises(AwayError, match="check its url"):
        upgrade(database)


def test_sqlite_keeps_history_in_order_of_machine_and_time(sqlite_template):
    database = Database(DatabaseSettings(url=f"sqlite:///{sqlite_template}"))
    with database.read() as connection:
        sql = "SELECT name FROM pragma_table_list WHERE wr = 1 AND type = 'table'"
        clustered = {name for (name,) in connection.execute(text(sql))}
    database.close()
    assert {"observations", "prognoses", "summaries", "states"} <= clustered
