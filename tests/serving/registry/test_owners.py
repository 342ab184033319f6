"""Who owns a twin: one at a time, under a term that only grows, and everything audited."""

import threading

import pytest

from serving.database.queries import find_asset, list_assets
from serving.database.tables import assets
from serving.errors import ConflictError, InvalidError, UnknownError
from serving.registry.audit import Act, read_audit
from serving.registry.owners import Found, adopt, assign, gateway_id, hold, owners, register, set_tier

ACT = Act("ann", 1_000, "because")


def test_register_assign_and_back(database):
    with database.write() as connection:
        made = register(connection, ACT, "pump-1", "pump", gateway="gw-1", site="north", term=3)
        assert (made.gateway, made.term, made.tier) == ("gw-1", 3, "full")
        gateway_id(connection, "gw-2", "north", 5)
        assert assign(connection, Act("ben", 2_000, "gw-1 burnt"), "pump-1", "gw-2", term=3).term == 4
        assert assign(connection, Act("ben", 3_000), "pump-1", None).gateway is None
    with database.read() as connection:
        assert find_asset(connection, "pump-1").term == 5
        assert [(o.term, o.gateway, o.since, o.by) for o in owners(connection, "pump-1")] == [
            (3, "gw-1", 1_000, "ann"),
            (4, "gw-2", 2_000, "ben"),
            (5, None, 3_000, "ben"),
        ]
        told = read_audit(connection, "asset/pump-1")
        assert [entry.action for entry in told] == ["asset.assign", "asset.assign", "asset.register"]
        assert told[1].detail == {"before": "gw-1", "after": "gw-2", "term": 4, "reason": "gw-1 burnt"}
        assert [e.id for e in read_audit(connection, limit=1, before=told[0].id)] == [told[1].id]


def test_what_cannot_be(database):
    with database.write() as connection:
        register(connection, ACT, "pump-1", "pump")
        with pytest.raises(ConflictError, match="'pump-1' is registered already"):
            register(connection, ACT, "pump-1", "pump")
        with pytest.raises(InvalidError, match="asset 'no name'"):
            register(connection, ACT, "no name", "pump")
        with pytest.raises(InvalidError, match="term -1"):
            register(connection, ACT, "pump-2", "pump", term=-1)
        with pytest.raises(UnknownError, match="gateway 'gw-9' is not known"):
            assign(connection, ACT, "pump-1", "gw-9")
        with pytest.raises(UnknownError, match="asset 'pump-9'"):
            assign(connection, ACT, "pump-9", None)
        with pytest.raises(ConflictError, match="has term 0 by now, not 7"):
            assign(connection, ACT, "pump-1", None, term=7)
        with pytest.raises(InvalidError, match="tier 'gold'"):
            set_tier(connection, ACT, "pump-1", "gold")
    with database.read() as connection:
        assert [asset.name for asset in list_assets(connection)] == ["pump-1"]
        assert len(read_audit(connection)) == 1


def test_tiers(database):
    with database.write() as connection:
        register(connection, ACT, "pump-1", "pump")
        assert set_tier(connection, ACT, "pump-1", "basic").tier == "basic"
        assert [asset.name for asset in list_assets(connection, assets.c.tier == "basic")] == ["pump-1"]


def test_adoption(database):
    act = Act("hub", 9)
    with database.write() as connection:
        one, two = (gateway_id(connection, name, "north", 1) for name in ("gw-1", "gw-2"))
        before = hold(connection)
        assert adopt(connection, act, [Found("p1", "", one, 2), Found("p2", "pump", one, 0)], most=2) == 2
        assert hold(connection) > before
        assert adopt(connection, act, [Found("p1", "pump", one, 2)], most=2) == 1  # now its class is known
        assert adopt(connection, act, [Found("p1", "pump", two, 5)], most=2) == 0  # another's
        assert adopt(connection, act, [Found("p1", "pump", one, 1), Found("p1", "pump", one, 2)], most=2) == 0
        assert adopt(connection, act, [Found("p1", "pump", one, 6)], most=2) == 1
        assert adopt(connection, act, [Found("p3", "pump", one, 0), Found("p4", "pump", two, 0)], most=2) == 1
        assert adopt(connection, act, [Found("p5", "pump", two, 2**40)], most=2) == 0
    with database.read() as connection:
        found = {asset.name: (asset.asset_class, asset.gateway, asset.term) for asset in list_assets(connection)}
        assert found == {"p1": ("pump", "gw-1", 6), "p2": ("pump", "gw-1", 0), "p4": ("pump", "gw-2", 0)}
        assert [owner.term for owner in owners(connection, "p1")] == [2, 6]


def test_nobody_changes_the_registry_while_a_hub_holds_it(database):
    """Two hubs hold it together; a change waits for both of them."""
    with database.write() as connection:
        register(connection, ACT, "pump-1", "pump", gateway="gw-1")
    order = []

    def change():
        with database.write() as connection:
            assign(connection, ACT, "pump-1", None)
            order.append("changed")

    thread = threading.Thread(target=change)
    with database.write() as connection:
        hold(connection)
        if not database.sqlite:  # where there is one writer at a time
            with database.write() as other:
                hold(other)
        thread.start()
        thread.join(0.2)
        assert find_asset(connection, "pump-1").term == 0
        order.append("held")
    thread.join(20)
    assert order == ["held", "changed"]
