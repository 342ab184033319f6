import numpy as np
from hypothesis import given

from edge_runtime.contract import bodies
from edge_runtime.contract.keys import BusinessKey, business_keys
from edge_runtime.contract.message import Lane, Outgoing, Spooled
from edge_runtime.contract.rows import Keys, States
from edge_runtime.contract.tables import outgoing
from edge_runtime.contract.waveform import split
from edge_runtime.contract.wire import decode, encode
from tests.edge_runtime.contract.messages import PATIENT, spooled


def keys_of(message):
    return list(business_keys(decode(*encode(Spooled(1, 1, message), "gw", 1))))


def test_every_row_of_a_block_has_one():
    key = Keys.of(["p1", "p2"], np.array([1, 0, 1]), *(np.array([1, 2, 3]) for _ in range(3)))
    message = outgoing(States("pump", key, np.zeros((3, 1), np.float32)), Lane.LIVE, 1)
    assert keys_of(message) == [
        BusinessKey("p2", 1, 1, "state"),
        BusinessKey("p1", 2, 2, "state"),
        BusinessKey("p2", 3, 3, "state"),
    ]


def test_an_alarm_and_an_event():
    alarm = bodies.Alarm("a", "raised", 1, 0, 1, "p1", 2, 3, 1)
    assert keys_of(Outgoing("alarm", Lane.ALARM, "p1", 1, 1, bodies.pack(alarm))) == [BusinessKey("p1", 2, 3, "alarm")]
    event = bodies.Event("e", "disk", "raised", "error", 1)
    assert keys_of(Outgoing("event", Lane.ALARM, None, 1, 1, bodies.pack(event))) == []


def test_each_part_of_a_waveform():
    samples = np.random.default_rng(1).normal(size=(1, 2000)).astype(np.float32)
    parts = split(samples, asset="p1", channel="shake", term=2, number=3, t=1, t_rx=1, largest=6000)
    found = [key for part in parts for key in keys_of(part)]
    assert found == [BusinessKey("p1", 2, 3, f"waveform/shake/{i}") for i in range(len(parts))]
    assert len(parts) > 1


@PATIENT
@given(spooled)
def test_any_message(made):
    body, message = made
    keys = list(business_keys(decode(*encode(message, "gw", 1))))
    assert all(isinstance(key.number, int) and isinstance(key.term, int) for key in keys)
    if hasattr(body, "keys"):
        assert len(keys) == len(body.keys)
