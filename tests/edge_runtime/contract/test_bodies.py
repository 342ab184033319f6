import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import bodies
from edge_runtime.contract.bodies import Ack, Alarm, Contribution, Event, Excerpt, Heartbeat, Status
from edge_runtime.decode import decode
from edge_runtime.gateway import watch
from tests.edge_runtime.contract.messages import PATIENT, json_bodies, statuses

ALARM = {
    "id": "p1-1-9",
    "state": "raised",
    "level": 2,
    "previous": 0,
    "since": 5,
    "asset": "p1",
    "term": 1,
    "number": 9,
    "t": 5,
}


@PATIENT
@given(json_bodies.map(lambda made: made[1]) | statuses)
def test_bodies_come_back(body):
    value = json.loads(bodies.pack(body))
    assert decode(type(body), value, "body") == body
    assert decode(type(body), value | {"colour": "red"}, "body") == body


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "a b"}, "id 'a b'"),
        ({"id": ""}, "id ''"),
        ({"state": "gone"}, "state 'gone': expected one of raised, changed, cleared"),
        ({"asset": "a/b"}, "asset 'a/b'"),
        ({"level": 4}, "level 0 to 4"),
        ({"level": 0}, "level 0 to 0"),
        ({"previous": 1}, "raised from level 1 to 2"),
        ({"state": "changed"}, "changed from level 0 to 2"),
        ({"state": "cleared", "previous": 1}, "cleared from level 1 to 2"),
        ({"state": "changed", "previous": 1, "level": 0}, "changed from level 1 to 0"),
        ({"number": -1}, "number -1"),
        ({"term": -1}, "term -1"),
    ],
)
def test_alarms_that_make_no_sense(changes, said):
    with pytest.raises(ValueError, match=said):
        Alarm(**ALARM | changes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Event("e", "Disk full", "raised", "error", 1), "code 'Disk full'"),
        (lambda: Event("e", "disk", "raised", "fatal", 1), "severity 'fatal'"),
        (lambda: Event("e", "disk", "on", "error", 1), "state 'on'"),
        (lambda: Event("e", "disk", "raised", "error", 1, asset=""), "asset ''"),
        (lambda: Event("e", "disk", "raised", "error", 1, detail="x" * 2001), "detail has 2001"),
        (lambda: Event("e", "disk", "raised", "error", 1, counts={"live": -1}), "live -1"),
        (lambda: Event("e", "disk", "raised", "error", 1, counts=dict.fromkeys(map(str, range(300)), 1)), "300 counts"),
        (lambda: Ack("c", "maybe"), "status 'maybe'"),
        (lambda: Ack("c", "done", value=np.inf), "value inf"),
        (lambda: Ack("c", "refused", reason="x" * 2001), "reason has 2001"),
        (lambda: Contribution("flow", np.nan), "value nan"),
        (lambda: Heartbeat(np.inf, 1, 1), "uptime inf"),
        (lambda: Heartbeat(1.0, 1, 1, backlog={"x" * 129: 1}), "1 counts"),
        (lambda: Status("away", "gw", 1, 1), "state 'away'"),
        (lambda: Status("online", "gw/7", 1, 1), "gateway 'gw/7'"),
        (lambda: Status("online", "gw", -1, 1), "epoch -1"),
        (lambda: Status("online", "gw", 1, 1, clock="late"), "clock 'late'"),
        (lambda: Status("online", "gw", 1, 1, bundles={"a b": "m"}), "class 'a b'"),
        (lambda: Status("online", "gw", 1, 1, insecure=("x" * 2001,)), "2001 characters"),
    ],
)
def test_bodies_that_make_no_sense(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_codes_of_events_are_codes():
    for code in bodies.EVENTS:
        assert Event("e", code, "raised", "info", 1).code == code
    assert bodies.EVENTS.keys() >= {code for code, _ in watch.EVENTS.values()}


def test_an_excerpt_of_a_prognosis():
    outputs = {
        "health": np.float32([0.1, 0.9]),
        "rul": np.float32([np.inf, 40.25]),
        "rul_lower": np.float32([80.5, 30]),
        "rul_upper": np.float32([np.inf, np.inf]),
        "alarm": np.float32([0, 1]),
    }
    assert Excerpt.of(outputs, 0) == Excerpt(health=0.1, rul=None, rul_lower=80.5, open=True)
    assert Excerpt.of(outputs, 1) == Excerpt(health=0.9, rul=40.25, rul_lower=30.0, rul_upper=None, open=True)


def test_what_is_not_known_is_not_taken_for_an_open_end():
    outputs = {"rul": np.float32([np.nan]), "rul_upper": np.float32([np.inf])}
    assert Excerpt.of(outputs, 0) == Excerpt()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_spelled_short_and_comes_back(value):
    written = bodies.number(np.float32(value))
    assert np.float32(written) == np.float32(value)
    assert float(f"{written:.9g}") == written, "more digits than a float32 has"


def test_contributions():
    values = np.float32([0.5, -2.0, 0.0, np.nan, 1.0])
    assert bodies.contributions(("a", "b", "c", "d", "e"), values, 3) == (
        Contribution("b", -2.0),
        Contribution("e", 1.0),
        Contribution("a", 0.5),
    )
    assert bodies.contributions(("a",), np.float32([0])) == ()


def test_bodies_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Alarm(**ALARM).level = 3
