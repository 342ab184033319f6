"""The guide's table of reasons has all that the gateway counts, and nothing else."""

import ast
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.gateway.command_log import BEGUN
from edge_runtime.gateway.report import dropped, refused
from edge_runtime.sources.modbus.client import _EXCEPTIONS
from edge_runtime.sources.sparkplug.source import _DEVICE_KINDS, _NODE_KINDS
from tests.edge_runtime.deploy.test_guide import rows_after
from tests.edge_runtime.gateway.statuses import full_status

EDGE = Path(__file__).parents[3] / "edge_runtime"
COUNTING = {"Refusal", "_refuse", "_count", "_give_up", "WireError", "CommandRefusedError", "AssignmentRefusedError"}
VERIFY = ("contract/signature.py",)


def trees(*places):
    for place in places:
        path = EDGE / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield ast.parse(file.read_text())


def words(node):
    """The reasons that an expression may be."""
    if isinstance(node, ast.IfExp):
        return words(node.body) | words(node.orelse)
    is_word = isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[a-z_0-9]+", node.value)
    return {node.value} if is_word else set()


def called(*places):
    """What is refused by one of the calls that refuse."""
    calls = [node for tree in trees(*places) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    refusing = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in COUNTING]
    return set().union(*(words(argument) for call in refusing for argument in call.args))


def counted(*places):
    """What is added to a counter by name."""
    sums = [node.target for tree in trees(*places) for node in ast.walk(tree) if isinstance(node, ast.AugAssign)]
    counters = [
        target
        for target in sums
        if isinstance(target, ast.Subscript)
        and getattr(target.value, "attr", getattr(target.value, "id", "")) in ("counts", "_counts")
    ]
    return set().union(*(words(target.slice) for target in counters))


def statuses(place):
    """How commands end."""
    calls = [node for tree in trees(place) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    ends = [call for call in calls if getattr(call.func, "id", "") == "_record"]
    return set().union(*(words(call.args[1]) for call in ends)) - {BEGUN}


def of_sources():
    places = ("sources", "mqtt/connection.py")
    kinds = {kind.lower() for kind in (*_NODE_KINDS, *_DEVICE_KINDS)}
    answers = {name.replace(" ", "_") for name in _EXCEPTIONS.values()} | {"exception_…"}
    return called(*places) | counted(*places) | kinds | answers | {"Bad…"}


def of_bundles():
    everything = Counter(duplicate=1, late=1, failed=1)
    twins = SimpleNamespace(intake=SimpleNamespace(counts=Counter()), fleet=SimpleNamespace(counts=everything))
    twins.counts = everything
    of_intake = called("intake") | counted("intake")
    return (of_intake - {"unknown_asset"}) | set(refused(twins))  # the engine has dropped unknown machines before


def of_drops():
    engine = SimpleNamespace(counts=Counter(counted("gateway/engine.py") | called("gateway/engine.py")))
    engine.twins = {"pump": SimpleNamespace(counts=Counter(failed=1))}
    return set(dropped(engine, SimpleNamespace(dropped=dict.fromkeys(Lane, 1)), 1))


def of_commands():
    places = ("gateway/commands.py", "gateway/command_rules.py")
    ends = statuses(places[0]) | counted(*places)
    return ends | {f"refused_{reason}" for reason in called(*places, "contract/command.py", *VERIFY)}


def of_assignments():
    places = ("gateway/assignments.py", "gateway/assigned.py")
    return counted(*places) | {f"refused_{reason}" for reason in called(*places, "contract/assignment.py", *VERIFY)}


OF = {
    "sources": of_sources,
    "bundles": of_bundles,
    "dropped": of_drops,
    "commands": of_commands,
    "assignments": of_assignments,
}


def told(under):
    return [
        name for row in rows_after("<!-- reasons -->") if row[0] == under for name in re.findall(r"`([^`]+)`", row[1])
    ]


@pytest.mark.parametrize("under", OF)
def test_each_reason_is_in_the_table_once_and_each_one_there_exists(under):
    assert sorted(told(under)) == sorted(OF[under]())


def test_the_table_has_nothing_else_and_no_empty_cell():
    rows = rows_after("<!-- reasons -->")
    assert {row[0] for row in rows} == set(OF)
    assert all(len(row) == 4 and all(row) for row in rows)


def test_the_sample_of_the_status_has_reasons_at_the_place_where_they_are_told():
    status = full_status()
    shown = {
        "sources": {name for source in status.sources for name in source.counts},
        "bundles": {name for bundle in status.bundles for name in bundle.refused},
        "dropped": set(status.dropped),
        "commands": set(status.commands),
        "assignments": set(status.assignments),
    }
    for under, names in shown.items():
        assert names
        assert names <= set(told(under))
