"""Prepared queries say what SQLAlchemy's Core says, on both databases, and use the index."""

import pytest
from sqlalchemy import bindparam, select

from serving.database import bulk
from serving.database.prepared import Prepared, among, read_json
from serving.database.tables import asset_settings, assets

NAMES = ["p1", "p'2", 'p"3', "p,4", "p[5]"]


@pytest.fixture
def connection(database):
    count = len(NAMES)
    columns = {"name": NAMES, "asset_class": ["pump"] * count, "term": [0] * count, "tier": ["full"] * count}
    with database.write() as connection:
        bulk.insert(connection, assets, columns | {"at": [1] * count})
    with database.read() as connection:
        yield connection


@pytest.mark.parametrize("wanted", [[], ["p1"], NAMES, ["nobody", "p[5]", "p1", "p1"]])
def test_a_list_of_any_length(connection, wanted):
    found = Prepared(select(assets.c.name).where(among(assets.c.name, "names")))
    for _ in range(2):
        assert {row[0] for row in found(connection, names=wanted)} == set(wanted) & set(NAMES)


def test_single_values_and_constants(connection):
    found = Prepared(select(assets.c.name).where(assets.c.tier == "full", assets.c.name >= bindparam("least")).limit(2))
    assert len(found(connection, least="p1")) == 2
    assert found(connection, least="z") == []


def test_lists_use_the_index(connection):
    """In SQLite, which else would read the whole table for one machine."""
    if connection.dialect.name == "sqlite":
        found = Prepared(select(assets.c.term).where(among(assets.c.name, "names")))
        found(connection, names=["p1"])
        sql = found._compiled["sqlite"][0]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", ('["p1"]',)).all()
        assert any("SEARCH assets USING INDEX" in row[3] for row in plan)


def test_json_comes_as_the_driver_has_it(database):
    with database.write() as connection:
        row = {"name": "p", "asset_class": "pump", "term": 0, "tier": "full", "at": 1}
        connection.execute(assets.insert(), [row])
        asset = connection.execute(select(assets.c.id)).scalar_one()
        row = {"asset": asset, "version": 1, "values": {"limit": 7.1}, "at": 1, "by": "ann", "reason": ""}
        connection.execute(asset_settings.insert(), [row])
        [[values]] = Prepared(select(asset_settings.c["values"]))(connection)
    assert read_json(values) == {"limit": 7.1}
    assert read_json(None) is None
