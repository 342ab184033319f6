"""Settings come in versions; who sets what somebody else has just set is told so."""

import math

import pytest

from edge_runtime.decode import decode
from edge_runtime.manifest import Contract
from serving.errors import ConflictError, InvalidError, UnknownError
from serving.registry.asset_settings import read_settings, set_settings
from serving.registry.audit import Act, read_audit
from serving.registry.owners import register
from tests.edge_runtime.tiny import tiny_contract


@pytest.fixture
def connection(database):
    with database.write() as connection:
        register(connection, Act("ann", 1), "pump-1", "pump")
        yield connection


def test_versions(connection):
    assert read_settings(connection, "pump-1").version == 0
    first = set_settings(connection, Act("ann", 5, "nameplate"), "pump-1", {"rated_flow": 210})
    second = set_settings(connection, Act("ben", 6), "pump-1", {"rated_flow": 190.5, "speed": 1480}, version=1)
    assert (first.version, second.version) == (1, 2)
    assert read_settings(connection, "pump-1") == second
    assert read_settings(connection, "pump-1", 1) == first
    assert (first.values, first.by, first.at, first.reason) == ({"rated_flow": 210.0}, "ann", 5, "nameplate")
    assert set_settings(connection, Act("ann", 9), "pump-1", dict(second.values)).version == 2  # nothing changed
    told = read_audit(connection, "asset/pump-1", limit=1)[0]
    assert told.detail == {
        "version": 2,
        "before": {"rated_flow": 210.0},
        "after": {"rated_flow": 190.5, "speed": 1480.0},
    }


def test_back_to_the_defaults(connection):
    set_settings(connection, Act("ann", 5), "pump-1", {"rated_flow": 210})
    assert set_settings(connection, Act("ann", 6), "pump-1", {}).version == 2
    assert read_settings(connection, "pump-1").values == {}


def test_two_at_once(connection):
    set_settings(connection, Act("ann", 5), "pump-1", {"rated_flow": 210}, version=0)
    with pytest.raises(ConflictError, match="have version 1 by now, not 0"):
        set_settings(connection, Act("ben", 5), "pump-1", {"rated_flow": 200}, version=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, "210", None, True])
def test_only_finite_numbers(connection, value):
    with pytest.raises(InvalidError, match="expected a finite number"):
        set_settings(connection, Act("ann", 5), "pump-1", {"rated_flow": value})


def test_unknown(connection):
    with pytest.raises(UnknownError, match="asset 'pump-2'"):
        read_settings(connection, "pump-2")
    with pytest.raises(UnknownError, match="no version 3"):
        read_settings(connection, "pump-1", 3)


def test_the_class_says_which_settings_there_are(connection):
    contract = decode(Contract, tiny_contract(), "contract")
    assert set_settings(connection, Act("ann", 5), "pump-1", {"offset": -2}, contract=contract).values == {"offset": -2}
    with pytest.raises(InvalidError, match=r"'offse' is no setting of class 'tiny': did you mean 'offset'\?"):
        set_settings(connection, Act("ann", 5), "pump-1", {"offse": 1}, contract=contract)
    with pytest.raises(InvalidError, match=r"'offset' is 11: expected -10 … 10 1"):
        set_settings(connection, Act("ann", 5), "pump-1", {"offset": 11}, contract=contract)
