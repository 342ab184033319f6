"""Databases for tests: the same tests run on SQLite and on PostgreSQL, each with fresh tables."""

import itertools
import shutil

import pytest

from serving.database.engine import Database
from serving.database.schema import upgrade
from serving.database.settings import DatabaseSettings
from tests.serving.postgres import postgres as postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """A file with all tables: copied, it is faster than made anew."""
    settings = DatabaseSettings(url="sqlite:///template.db", folder=tmp_path_factory.mktemp("database"))
    database = Database(settings)
    upgrade(database)
    database.close()
    return settings.folder / "template.db"


@pytest.fixture(scope="session")
def postgres_template(postgres):
    postgres.run("CREATE DATABASE template")
    database = Database(DatabaseSettings(url=postgres.url("template")))
    upgrade(database)
    database.close()
    return "template"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request, tmp_path):
    """Of a fresh database with all tables."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "centre.db")
        yield DatabaseSettings(url="sqlite:///centre.db", folder=tmp_path)
    else:
        template, server = request.getfixturevalue("postgres_template"), request.getfixturevalue("postgres")
        name = f"test{next(_numbers)}"
        server.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield DatabaseSettings(url=server.url(name))
        server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_settings):
    database = Database(database_settings)
    yield database
    database.close()
