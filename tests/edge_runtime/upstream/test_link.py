"""The link with real brokers, a real journal and a hub in a process of its own: all arrives once, in its order."""

import numpy as np
import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.upstream.blocks import BlockBuilder, BlockSettings
from tests.edge_runtime.broker import broker, iotcore, until  # noqa: F401
from tests.edge_runtime.hub import Hub
from tests.edge_runtime.upstream.made import CHANNELS, SECOND, batch, outputs
from tests.edge_runtime.upstream.station import Station, alarm, event


@pytest.fixture
def hub(broker, tmp_path):  # noqa: F811
    with Hub(broker.url, tmp_path / "hub") as running:
        yield running


@pytest.fixture
def station(broker, tmp_path):  # noqa: F811
    with Station(tmp_path / "gateway", broker.url) as made:
        yield made


def blocks(first, count, lane=Lane.LIVE, machines=4, size=4000):
    """Blocks of observations and prognoses `first` … first + count − 1 of each machine."""
    random = np.random.default_rng(first)
    builder = BlockBuilder("tiny", "model", CHANNELS, [f"m{i}" for i in range(machines)], BlockSettings(bytes=size))
    for number in range(first, first + count):
        one = batch(range(machines), number * SECOND, random=random)
        terms, numbers = np.zeros(machines, np.int64), np.full(machines, number)
        builder.add(number, one, terms, numbers, outputs(machines, random=random), 0)
    return builder.flush(lane)


def all_arrived(station, hub):
    until(lambda: station.backlog() == 0, what="an empty spool")
    assert hub.count("conflict") == 0


def test_what_is_spooled_arrives_and_leaves_the_spool(station, hub):
    station.start()
    station.spool(*blocks(1, 50), alarm(1), event(1))
    all_arrived(station, hub)
    assert set(hub.rows("observation")) == {(f"m{i}", 0, n) for i in range(4) for n in range(1, 51)}
    assert hub.rows("prognosis").keys() == hub.rows("observation").keys()
    assert hub.rows("alarm").keys() == {("m1", 0, 1)}
    assert [e["id"] for e in hub.told("event")] == ["e1"]
    status = station.link.status()
    assert status.connected
    assert status.sent == len(hub.messages())
    assert {s.kind for s in status.streams} == {"observation", "prognosis", "alarm", "event"}
    assert hub.statuses()[0]["state"] == "online"
    until(lambda: station.link.healthy)
