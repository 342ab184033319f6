"""A disk that somebody else fills: the gateway goes on, says so, acknowledges nothing it has not, and recovers."""

import time

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.gateway import engine
from edge_runtime.gateway import gateway as module
from edge_runtime.journal.entries import unpack_batch
from edge_runtime.upstream.link import Link
from tests.edge_runtime.broker import iotcore, until  # noqa: F401
from tests.edge_runtime.hub import Hub
from tests.edge_runtime.journal.test_bad_disk import fill, small_disk  # noqa: F401
from tests.edge_runtime.proofs.plant import (
    Plant,
    PlantClock,
    expected,
    make_gateway,
    settle,
    start_gateway,
    wait_for,
)
from tests.edge_runtime.proofs.relay import Relay

MACHINES = 1000
MOST = 500  # rounds until the disk must be full
LINK = "block_every = 0.2\nbackfill_every = 0.2\nack_timeout = 2"
JOURNAL = "commit_after = 0.05\nwaiting_bytes = 1_048_576\ncheckpoint_every = 3600"


class World:
    """A gateway on a small disk, and its centre."""

    def __init__(self, folder, disk, broker):
        self.clock, self.plant = PlantClock(), Plant([f"m-{i}" for i in range(MACHINES)], life=MOST)
        self.clock.run()
        self.folder, self.data = folder, disk / "data"
        self.others, self.more = disk / "others", disk / "more"
        self.network = Relay(broker.port).up()
        self.start()

    def start(self):
        options = {"link": LINK, "journal": JOURNAL, "data": self.data, "centre": self.network.url}
        self.gateway = start_gateway(make_gateway(self.folder, self.plant, self.clock, **options))
        self.gateway.inbox.most_arrivals = 2 * MACHINES

    def close(self):
        self.gateway.stop()
        self.network.cut()

    def send(self, rounds):
        for _ in range(rounds):
            self.plant.send(self.clock.utc())
            until(lambda: self.plant.push() or not self.plant.line)

    @property
    def advanced(self):
        return self.gateway.engine.twins["tiny"].counts["observations"]

    def send_until_stuck(self, lane_dropped=None):
        """Until the journal takes nothing more, nor the gateway's memory, and `lane_dropped`, if any, was dropped."""
        fill(self.others)
        before = None  # refusals while there was room: it was only slow
        while len(self.plant.sent) < MOST:
            report = self.gateway.journal.status()
            if report.disk_full and before is None:
                before = report.refused
                fill(self.more)  # what the gateway had kept for itself
            stuck = report.disk_full and report.refused > before and self.plant.line
            if stuck and (lane_dropped is None or report.dropped[lane_dropped]):
                return
            if self.plant.line:
                self.plant.push()
                time.sleep(0.05)
            else:
                self.plant.send(self.clock.utc())
        raise AssertionError("the disk did not get full")

    def recover(self):
        """The disk has room again: what the gateway did not take is sent again until it does."""
        self.others.unlink()
        self.more.unlink()
        until(lambda: self.plant.push() or not (self.plant.line or self.plant.waiting), 120, "all being acknowledged")
        until(lambda: self.gateway.status().journal.problem is None)

    def assert_all_advanced(self):
        """What is acknowledged is committed, and so has been advanced."""
        assert self.gateway.engine.twins["tiny"].fleet.number.tolist() == [len(self.plant.sent)] * MACHINES

    @property
    def stored(self):
        """Observations in the journal, all of which are kept: there was no checkpoint but the first."""
        return sum(len(unpack_batch(entry.body).rows) for entry in self.gateway.journal.history("tiny", 0))


def missing(hub, folder, plant):
    """Prognoses and observations that the centre has not; all alarms it has."""
    prognoses, alarms = expected(folder, plant)
    assert hub.rows("alarm").keys() == alarms
    arrived, observed = hub.rows("prognosis"), hub.rows("observation")
    assert arrived.items() <= prognoses.items()
    assert observed.keys() <= prognoses.keys()
    return len(prognoses) - len(arrived), len(prognoses) - len(observed)


@pytest.fixture
def always_live(monkeypatch):
    """However slow the computer is, the gateway takes the centre for reachable, and makes no backlog."""
    monkeypatch.setattr(Link, "healthy", True)


@pytest.fixture
def world(tmp_path, small_disk, iotcore):  # noqa: F811
    world = World(tmp_path, small_disk, iotcore)
    yield world
    world.close()


@pytest.fixture
def hub(tmp_path, iotcore):  # noqa: F811
    with Hub(iotcore.url, tmp_path / "hub") as hub:
        yield hub


@pytest.mark.usefixtures("always_live")
def test_a_full_disk_stops_nothing_and_loses_nothing_live(world, hub, tmp_path):
    gateway, plant = world.gateway, world.plant
    until(lambda: gateway.link.status().connected)
    world.send(10)
    wait_for(gateway, 10 * MACHINES)
    settle(gateway)

    world.send_until_stuck()
    status, acknowledged = gateway.status(), plant.acknowledged
    assert "full" in status.journal.problem
    assert status.engine.overflow > 0
    assert gateway.idle < 5
    assert gateway.failure is None
    assert 10 * MACHINES < acknowledged <= world.stored < world.advanced

    world.recover()
    settle(gateway)
    until(lambda: [event["state"] for event in hub.told("event") if event["code"] == "disk"][:1] == ["raised"])
    world.assert_all_advanced()
    assert missing(hub, tmp_path, plant) == (0, 0)
    assert not any(gateway.journal.status().dropped.values())


def test_with_the_centre_away_too_backlog_is_dropped_and_alarms_are_not(world, hub, tmp_path):
    gateway, plant = world.gateway, world.plant
    world.network.cut()
    until(lambda: not gateway.link.healthy)
    world.send(10)
    wait_for(gateway, MACHINES * len(plant.sent))
    world.send_until_stuck(Lane.BACKFILL)
    world.recover()

    world.network.up()
    settle(gateway)
    dropped = gateway.journal.status().dropped
    assert gateway.status().dropped["spool_backfill"] == dropped[Lane.BACKFILL] > 0
    assert dropped[Lane.ALARM] == dropped[Lane.LIVE] == 0
    world.assert_all_advanced()
    assert any(missing(hub, tmp_path, plant)), "nothing was on its way: what is counted as dropped has not arrived"


@pytest.mark.usefixtures("always_live")
def test_a_restart_on_a_full_disk(world, hub, tmp_path, monkeypatch):
    """Also one that could not commit what it had taken in: that comes again."""
    monkeypatch.setattr(engine, "LAST_TRIES", 1)
    monkeypatch.setattr(module, "LAST_COMMIT", 0.5)
    plant = world.plant
    until(lambda: world.gateway.link.status().connected)
    world.send(10)
    world.send_until_stuck()
    world.gateway.stop()
    plant.come_again()
    world.start()
    plant.push()
    assert "full" in world.gateway.status().journal.problem
    world.recover()
    gateway = world.gateway
    world.assert_all_advanced()
    settle(gateway)
    assert missing(hub, tmp_path, plant) == (0, 0)
    assert not any(gateway.journal.status().dropped.values())
