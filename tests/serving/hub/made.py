"""Messages as gateways send them, for tests of the hub."""

import itertools

import numpy as np

from edge_runtime.contract import bodies, tables, topics
from edge_runtime.contract.message import JSON, Lane, Outgoing, Spooled
from edge_runtime.contract.rows import FLAGS, Keys, Observations, Prognoses, Snapshots, States, Summaries
from edge_runtime.contract.wire import encode
from serving.hub.reading import Letter, read

SITE, GATEWAY, EPOCH = "north", "gw-7", 1_767_225_600
CHANNELS = ("flow", "speed")
NAMES = ("health", "anomaly_score", "failure_probability", "rul", "rul_lower", "rul_upper", "warming_up", "unfamiliar")
HOUR = 3_600_000_000_000
START = 1_767_225_600_000_000_000


def keys(assets, numbers, term=0, start=START, step=HOUR):
    """One row for each asset and number."""
    rows = np.array([(a, n) for a in range(len(assets)) for n in numbers], np.int64).reshape(-1, 2)
    terms = np.full(len(rows), term, np.int64)
    return Keys.of(assets, rows[:, 0], terms, rows[:, 1], start + rows[:, 1] * step)


def observations(assets=("m1",), numbers=(1,), term=0, asset_class="pump", waveforms=None, seed=0, **where):
    key = keys(assets, numbers, term, **where)
    random = np.random.default_rng([seed, *numbers])
    readings = random.normal(size=(len(key), len(CHANNELS))).astype(np.float32)
    readings[random.random(readings.shape) < 0.1] = np.nan
    event, age = np.zeros(len(key), np.float32), np.full(len(key), np.nan, np.float32)
    return Observations(asset_class, key, CHANNELS, key.t + 5, readings, event, age, waveforms or {})


def snapshots(row):
    row = np.asarray(row, np.int32)
    return {"shake": Snapshots(row, np.arange(len(row) * 3, dtype=np.float32).reshape(-1, 3))}


def prognoses(assets=("m1",), numbers=(1,), term=0, asset_class="pump", alarm=0, seed=0, **where):
    key = keys(assets, numbers, term, **where)
    random = np.random.default_rng([seed, *numbers])
    outputs = {name: random.random(len(key)).astype(np.float32) for name in NAMES}
    outputs["rul_upper"][::2] = np.inf
    outputs["alarm"] = np.full(len(key), alarm, np.float32)
    outputs["quality"] = random.integers(0, 64, (len(key), len(CHANNELS))).astype(np.float32)
    outputs["contribution"] = random.normal(size=(len(key), len(CHANNELS))).astype(np.float32)
    outputs["tick"] = np.ones(len(key), np.float32)
    return Prognoses(asset_class, key, outputs)


def summaries(assets=("m1",), numbers=(10,), term=0, asset_class="pump"):
    key = keys(assets, numbers, term)
    count = len(key)
    values = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    received, flags = np.full((count, 2), 7, np.int64), np.ones((count, FLAGS), np.int64)
    whole = np.arange(count)
    outputs = {"health": np.full(count, 0.5, np.float32), "contribution": values}
    measured = received, values, values + 1, values + 2
    return Summaries(asset_class, key, CHANNELS, key.t - HOUR, key.t, whole + 10, *measured, whole, flags, outputs)


def states(assets=("m1",), numbers=(5,), term=0, asset_class="pump"):
    key = keys(assets, numbers, term)
    return States(asset_class, key, np.arange(len(key) * 4, dtype=np.float32).reshape(-1, 4))


def block(rows, lane=Lane.LIVE, t_rx=START + 9, model_id="model-1"):
    return tables.outgoing(rows, lane, t_rx, model_id)


def alarm(number, level=2, previous=0, asset="m1", term=0, name=None, since=None):
    state = "raised" if previous == 0 else "cleared" if level == 0 else "changed"
    told = bodies.Excerpt(health=0.5, rul=12.5)
    cause = (bodies.Contribution("flow", -0.25),)
    since = number if since is None else since
    body = bodies.Alarm(
        name or f"{asset}-{since}", state, level, previous, since, asset, term, number, number, told, cause
    )
    return Outgoing("alarm", Lane.ALARM, asset, number, START + number, bodies.pack(body), JSON, model_id="model-1")


def event(number, lane=Lane.LIVE, state="noted"):
    body = bodies.Event(f"e{number}", "disk", state, "info", number, detail="full")
    return Outgoing("event", lane, None, number, number, bodies.pack(body), JSON)


def answer(number, status="done"):
    body = bodies.Ack(f"c{number}", status, "m1", "speed", None, 1480.5, number)
    return Outgoing("ack", Lane.LIVE, "m1", number, number, bodies.pack(body), JSON)


def letter(outgoing, seq, gateway=GATEWAY, site=SITE, epoch=EPOCH, floor=1):
    content, payload = encode(Spooled(epoch, seq, outgoing), gateway, floor)
    topic = topics.up(site, gateway, outgoing.kind, outgoing.asset)
    return Letter(topic.encode(), content, payload)


class Sender:
    """A gateway's spool: gives its messages the next seq of their lane."""

    def __init__(self, gateway=GATEWAY, epoch=EPOCH):
        self.gateway, self.epoch = gateway, epoch
        self._numbers = {lane: itertools.count(1) for lane in Lane}

    def read(self, *outgoings, floor=1):
        return [
            read(letter(each, next(self._numbers[each.lane]), self.gateway, epoch=self.epoch, floor=floor))
            for each in outgoings
        ]


def status(state="online", t=1, gateway=GATEWAY, site=SITE, **more):
    body = bodies.Status(state, gateway, EPOCH, t, **more)
    return read(Letter(topics.status(site, gateway).encode(), JSON, bodies.pack(body)))
