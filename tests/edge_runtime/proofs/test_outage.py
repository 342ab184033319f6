"""The centre away for a week: nothing is lost, live data comes first on its return, and memory stays flat."""

import time
from itertools import pairwise

import psutil
import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.gateway.estimate import estimate
from tests.edge_runtime.broker import iotcore, until  # noqa: F401
from tests.edge_runtime.hub import Hub
from tests.edge_runtime.proofs.plant import (
    SECOND,
    Plant,
    PlantClock,
    assert_complete,
    make_gateway,
    settle,
    start_gateway,
    wait_for,
)
from tests.edge_runtime.proofs.relay import Relay

DAYS, MACHINES = 7, 50
DAY = 86_400
MIB = 1 << 20
WINDOW = 16  # messages of a lane that may be without an answer of the centre
SLOW = 0.02  # seconds of each commit of the centre: the return lasts long enough for live data to come meanwhile
LINK = f"window = {WINDOW}\nblock_every = 0.2"
# Seconds between the observations of a machine.
SHORT_AND_FULL = [3600, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]


class Committed:
    """When the journal committed which message, in real time; between journal and link."""

    def __init__(self, gateway):
        self.when = {}
        self._follow = gateway.link._pump.committed
        gateway.link._pump.committed = self

    def __call__(self, messages):
        now = time.monotonic_ns()
        for one in messages:
            if one.message.lane == Lane.LIVE:
                self.when[one.seq] = now
        self._follow(messages)


def resident():
    return psutil.Process().memory_info().rss / MIB


def a_week_alone(gateway, plant, clock, interval):
    """[(bytes in the spool, resident MiB)] at the end of each day."""
    days = []
    for _ in range(DAYS):
        for _ in range(DAY // interval):
            plant.send(clock.utc())
            wait_for(gateway, MACHINES * len(plant.sent))
            assert gateway.journal.flush()  # the disk would seem to take as long as the clock is turned by
            clock.turn(interval * SECOND)
        size = sum(size for _, size, _ in gateway.journal.backlog().values())
        days.append((size, resident()))
        print(f"day {len(days)}: {size / MIB:.1f} MiB in the spool, {days[-1][1]:.0f} MiB resident")
    return days


def the_return(gateway, plant, clock):
    """Live observations go on, ten a second of each machine, until the backlog is gone."""
    backlog = gateway.journal.backlog()
    assert backlog[Lane.BACKFILL][0] > 300
    while gateway.journal.backlog()[Lane.BACKFILL][0]:
        plant.send(clock.utc())
        time.sleep(0.1)
    until(lambda: gateway.link.healthy)
    plant.send(clock.utc())
    wait_for(gateway, MACHINES * len(plant.sent))
    settle(gateway)
    clock.turn(10 * SECOND)  # what is mended is told of when it has stayed so
    until(lambda: not gateway.watch.conditions.active)
    settle(gateway)


def assert_live_first(arrived, committed):
    """A live message waits for no more of the backlog than was on its way already."""
    backfill = [one["at"] for one in arrived if one["lane"] == "backfill"]
    live = [one for one in arrived if one["lane"] == "live" and one["at"] < backfill[-1]]
    assert len(live) > 10, "too little live data to judge by"
    overtaken = [
        sum(committed.when[one["seq"]] < at < one["at"] for at in backfill)
        for one in live
        if one["seq"] in committed.when
    ]
    assert max(overtaken) <= 2 * WINDOW
    before = [one["lane"] for one in arrived if one["at"] < backfill[0]]
    assert before.count("alarm") >= WINDOW, "the alarms of the week come before all else"


@pytest.mark.parametrize("interval", SHORT_AND_FULL)
def test_a_week_without_the_centre(interval, tmp_path, iotcore):  # noqa: F811
    clock, plant = PlantClock(), Plant([f"m-{i}" for i in range(MACHINES)], life=DAYS * DAY // interval // 3)
    with Hub(iotcore.url, tmp_path / "hub", slow=SLOW) as hub, Relay(iotcore.port) as network:
        gateway = make_gateway(tmp_path, plant, clock, centre=network.url, link=LINK, interval=interval)
        start_gateway(gateway)
        committed = Committed(gateway)
        try:
            days = a_week_alone(gateway, plant, clock, interval)
            clock.run()
            network.up()
            the_return(gateway, plant, clock)
            after = resident()
            print(f"afterwards {after:.0f} MiB resident")
            assert not gateway.link.dead_letters
            assert not any(gateway.journal.status().dropped.values())
        finally:
            gateway.stop()
        assert_complete(hub, tmp_path, plant)
        arrived, told = hub.messages(), hub.told("event")
    assert [event["state"] for event in told if event["code"] == "link"] == ["raised", "cleared"]
    for lane in Lane:
        seqs = [one["seq"] for one in arrived if one["lane"] == lane.label]
        assert all(a < b for a, b in pairwise(seqs)), f"lane {lane.label} is not in order"
    assert_live_first(arrived, committed)
    settled, *later = (memory for _, memory in days)
    assert max(*later, after) - settled < 16, "memory grows"
    sizes = [size for size, _ in days]
    bundle = gateway.engine.twins["tiny"].bundle
    assert sizes[-1] < 1.1 * DAYS * estimate(bundle, MACHINES, gateway.config.link).total
