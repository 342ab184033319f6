"""A gateway with a clock of its own, a source whose every reading follows from its number, and what must come of it."""

import time
from queue import SimpleQueue

import numpy as np

from edge_runtime.bundle import Bundle
from edge_runtime.contract.event import Event
from edge_runtime.contract.message import Lane
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from edge_runtime.sources.backoff import Backoff
from edge_runtime.sources.source import Arrival, SourceStatus
from tests.edge_runtime.broker import until
from tests.edge_runtime.tiny import tiny_bundle

SECOND = 1_000_000_000
TERM = 0  # of machines whose table names none
START = 1_767_225_600 * SECOND  # 2026-01-01
CONFIG = """
[gateway]
id = "gw-7"
site = "north"
data = "{data}"
machines = "machines.csv"

[bundles]
tiny = "bundle"

[link]
url = "{centre}"
{link}

[journal]
{journal}

[http]
enabled = false
"""


class PlantClock:
    """Turned by hand; from `run` on it goes by itself."""

    def __init__(self):
        self._now, self._since = START, None

    def utc(self):
        return self._now + (0 if self._since is None else time.monotonic_ns() - self._since)

    def monotonic(self):
        return self.utc() - START + SECOND

    def turn(self, nanos):
        self._now += nanos

    def run(self):
        self._since = time.monotonic_ns()


class Plant:
    """Sends at least once, as QoS 1 does: what the gateway has no room for stays in line and comes later.

    `sent` holds the time of each round; in a round every machine sends one observation.
    """

    name, kind = "plant", "memory"

    def __init__(self, assets, life):
        self.assets, self.life = tuple(assets), life
        self.sent = []
        self.line = []  # what the gateway did not take, in order
        self.waiting = set()  # receipts that were handed in and are not acknowledged
        self.acknowledged = self.twice = 0
        self._inbox = None

    def start(self, inbox):
        self._inbox = inbox

    def stop(self):
        self._inbox = None

    def check(self):
        return []

    def status(self):
        return SourceStatus(self.name, self.kind, True, "")

    def acknowledge(self, receipts):
        for receipt in receipts:
            self.twice += receipt not in self.waiting
            self.waiting.discard(receipt)
        self.acknowledged += len(receipts)

    def send(self, at):
        """One observation of each machine at `at`."""
        self.sent.append(at)
        self.line += self._round(len(self.sent) - 1)
        self.push()

    def _round(self, number):
        values = enumerate(zip(self.assets, self.values(number), strict=True))
        return [Arrival(asset, self.sent[number], said, self, (number, i)) for i, (asset, said) in values]

    def push(self):
        """Hand in as much of the line as there is room for."""
        for i, arrival in enumerate(self.line):
            self.waiting.add(arrival.receipt)
            if not self._inbox.put(arrival):
                self.waiting.discard(arrival.receipt)
                del self.line[:i]
                return
        self.line.clear()

    def come_again(self):
        """A new session: what was not acknowledged is the first in the line, in order."""
        numbers = {receipt[0] for receipt in self.waiting} | {arrival.receipt[0] for arrival in self.line}
        open_ones = self.waiting | {arrival.receipt for arrival in self.line}
        self.line = [
            arrival for number in sorted(numbers) for arrival in self._round(number) if arrival.receipt in open_ones
        ]
        self.waiting.clear()

    def values(self, number):
        """Of each machine in round `number`; a life of all of them begins every `life` rounds."""
        readings = np.random.default_rng(number).normal(100, 10, (len(self.assets), 2)).round(3)
        new = {"event": int(Event.NEW_LIFE)} if number % self.life == 0 else {}
        return [{"flow": flow, "speed": speed} | new for flow, speed in readings.tolist()]


def write_config(folder, assets, *, centre, link="", journal="", data="data", interval=60, more=""):
    """A gateway.toml in which each message of the machines is an observation; its path."""
    timing = {"unit": "s", "interval": interval, "tick": 600, "max_gap": 86400, "assemble": False}
    if not (folder / "bundle").exists():
        tiny_bundle(folder / "bundle", time=timing)
    (folder / "machines.csv").write_text("".join(["asset,class\n", *(f"{asset},tiny\n" for asset in assets)]))
    path = folder / "gateway.toml"
    path.write_text(CONFIG.format(centre=centre, link=link, journal=journal, data=data) + more)
    return path


def make_gateway(folder, plant, clock, **options):
    """A gateway for `plant` that is not started; `options` as of `write_config`."""
    return Gateway(read_config(write_config(folder, plant.assets, **options)), clock, [plant], synced=lambda: True)


def start_gateway(gateway):
    """Start it, and let it try to reach the centre twice a second: it has no minute to wait."""
    gateway.start()
    gateway.link._connection._backoff = Backoff(gateway.clock, first=0.05, most=0.5)
    return gateway


def wait_for(gateway, observations):
    """Until so many have been advanced."""
    counts = gateway.engine.twins["tiny"].counts
    until(lambda: counts["observations"] >= observations or gateway.failure, what="the last observation")
    assert gateway.failure is None


def settle(gateway):
    """Until the centre has acknowledged all that follows from what has been advanced."""
    streams = gateway.engine.streams["tiny"]

    def gathers():
        """Whether rows wait for a block, between two rounds of the engine: what it made before is handed over."""
        answer = SimpleQueue()
        gateway.engine.call(lambda _: answer.put(streams.deadline(Lane.LIVE) is not None))
        return answer.get(timeout=60)

    def spooled():
        return any(count for count, *_ in gateway.journal.backlog().values())

    def is_done():
        time.sleep(0.02)
        return not (spooled() or gathers()) and gateway.journal.flush() and not spooled()

    until(is_done, 120, "the spool running empty")


def expected(folder, plant):
    """Prognoses by (asset, term, number), as the stand-in hub keeps them, and keys of alarms."""
    fleet = Bundle.load(folder / "bundle").fleet(plant.assets)
    prognoses, alarms, level = {}, set(), np.zeros(len(plant.assets))
    for number, at in enumerate(plant.sent):
        values = plant.values(number)
        readings = np.array([[one["flow"], one["speed"]] for one in values], np.float32)
        event = np.array([one.get("event", 0) for one in values], np.float32)
        outputs, _ = fleet.advance(slice(None), np.full(len(values), at), readings, event)
        names = sorted(name for name in outputs if not name.endswith(".features"))
        for row, asset in enumerate(plant.assets):
            prognoses[asset, TERM, number + 1] = b"".join(outputs[name][row].tobytes() for name in names)
        changed = np.flatnonzero(outputs["alarm"] != level)
        alarms |= {(plant.assets[row], TERM, number + 1) for row in changed}
        level = outputs["alarm"]
    return prognoses, alarms


def assert_complete(hub, folder, plant):
    """The hub has each observation, prognosis and alarm of what was sent, once, as a gateway without trouble has it."""
    prognoses, alarms = expected(folder, plant)
    assert hub.rows("prognosis") == prognoses
    assert hub.rows("observation").keys() == prognoses.keys()
    assert hub.rows("alarm").keys() == alarms
    assert len(alarms) > 50, "a test of alarms needs some"
    assert hub.count("conflict") == 0
    # The clock has snapshots taken: under load also of twins that have seen nothing since the last one.
    assert hub.count("repeated") == hub.count("repeated_state")
    assert plant.acknowledged == len(prognoses)
    assert plant.twice == 0
