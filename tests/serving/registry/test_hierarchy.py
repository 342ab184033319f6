"""The tree of the plant, and how the condition of a machine reaches what is above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from serving.database.tables import latest
from serving.errors import ConflictError, InvalidError, UnknownError
from serving.registry.audit import Act, read_audit
from serving.registry.condition import REACH, Condition, combine, conditions, of_asset
from serving.registry.hierarchy import add_node, change_node, find_node, read_tree, remove_node
from serving.registry.owners import register

ACT = Act("ann", 1)


@pytest.fixture
def connection(database):
    with database.write() as connection:
        for name in ("p1", "p2", "b1", "p3"):
            register(connection, ACT, name, "pump")
        add_node(connection, ACT, "north", title="North works")
        add_node(connection, ACT, "north/l1", criticality="A")
        add_node(connection, ACT, "north/l1/pump-1", criticality="A", asset="p1")
        add_node(connection, ACT, "north/l1/pump-2", criticality="C", asset="p2")
        add_node(connection, ACT, "north/l1/pump-1/bearing", criticality="B", asset="b1")
        yield connection


def test_the_tree(connection):
    tree = read_tree(connection)
    assert [(node.path, node.kind, node.criticality, node.asset) for node in tree] == [
        ("north", "plant", "B", None),
        ("north/l1", "line", "A", None),
        ("north/l1/pump-1", "machine", "A", "p1"),
        ("north/l1/pump-1/bearing", "component", "B", "b1"),
        ("north/l1/pump-2", "machine", "C", "p2"),
    ]
    assert [find_node(connection, node.path) for node in tree] == list(tree)


def test_changes_are_audited(connection):
    assert change_node(connection, ACT, "north/l1/pump-2", criticality="B", title="Reserve").criticality == "B"
    change_node(connection, ACT, "north/l1/pump-2", title="Reserve")  # nothing changes
    remove_node(connection, ACT, "north/l1/pump-2")
    told = read_audit(connection, "node/north/l1/pump-2")
    assert [entry.action for entry in told] == ["node.remove", "node.change", "node.add"]
    assert told[1].detail == {
        "before": {"title": "", "criticality": "C"},
        "after": {"title": "Reserve", "criticality": "B"},
    }


def test_what_cannot_be(connection):
    with pytest.raises(ConflictError, match="north/l1/pump-2 exists"):
        add_node(connection, ACT, "north/l1/pump-2")
    with pytest.raises(ConflictError, match="north exists"):
        add_node(connection, ACT, "north")
    with pytest.raises(ConflictError, match="asset 'p1' has a place already"):
        add_node(connection, ACT, "north/l1/pump-9", asset="p1")
    with pytest.raises(UnknownError, match=r"no 'north/l2': it ends at north"):
        add_node(connection, ACT, "north/l2/pump-9")
    with pytest.raises(UnknownError, match=r"^there is no plant 'south': list"):
        find_node(connection, "south/l1")
    with pytest.raises(UnknownError, match="asset 'p9'"):
        add_node(connection, ACT, "north/l1/pump-9", asset="p9")
    with pytest.raises(InvalidError, match="a line is no asset"):
        add_node(connection, ACT, "north/l2", asset="p3")
    with pytest.raises(InvalidError, match="expected up to 4"):
        add_node(connection, ACT, "north/l1/pump-1/bearing/ball")
    with pytest.raises(InvalidError, match="criticality 'Z'"):
        add_node(connection, ACT, "north/l2", criticality="Z")
    with pytest.raises(ConflictError, match="something below north/l1"):
        remove_node(connection, ACT, "north/l1")
    assert len(read_tree(connection)) == 5


def test_conditions_of_all(connection):
    def tell(asset, health, alarm, t_rx=100):
        keys = {"asset": asset, "t": 1, "term": 0, "number": 1, "t_rx": t_rx, "model": 1, "layout": 1, "at": 1}
        connection.execute(insert(latest).values(**keys, health=health, alarm=alarm, rest=b""))

    tell(1, 0.9, 0)
    tell(3, 0.0, 1)  # the bearing: reaches pump-1 to 60 %
    found = {node.path: condition for node, condition in conditions(connection)}
    because = "north/l1/pump-1/bearing"
    assert found["north/l1/pump-1"] == Condition(0.4, 1, because, assets=2)
    assert found["north/l1/pump-2"] == Condition(None, 0, None, assets=1, silent=1)
    assert found["north/l1"] == Condition(0.4, 1, because, assets=3, silent=1)
    assert found["north"] == Condition(0.4, 1, because, assets=3, silent=1)

    later = {node.path: condition for node, condition in conditions(connection, heard_since=101)}
    assert later["north"] == Condition(None, 0, None, assets=3, silent=3)


leaves = st.builds(
    of_asset,
    st.just("a"),
    st.none() | st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.none() | st.integers(-1, 5),
)


@given(st.none() | leaves, st.lists(st.tuples(st.sampled_from(sorted(REACH)), leaves)))
def test_a_parent_is_as_bad_as_the_worst_that_reaches_it(own, children):
    result = combine(own, children)
    known = [c for _, c in children if c.value is not None] + ([own] if own and own.value is not None else [])
    assert (result.value is None) == (not known)
    if known:
        assert min(c.value for c in known) - 1e-6 <= result.value <= 1
        if own and own.value is not None:
            assert result.value <= own.value
    assert result.silent == sum(c.silent for _, c in children) + (own.silent if own else 0)
    assert result.silent <= result.assets == len(children) + (own is not None)


@given(st.lists(st.tuples(st.sampled_from(sorted(REACH)), leaves)), st.tuples(st.sampled_from(sorted(REACH)), leaves))
def test_one_more_child_never_makes_it_better(children, one):
    before, after = combine(None, children), combine(None, [*children, one])
    assert after.value is None or before.value is None or after.value <= before.value
    assert after.alarm >= before.alarm
