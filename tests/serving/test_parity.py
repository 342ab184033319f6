"""One history, three ways to a prognosis: `overhaul-edge score`, `POST /predict`, and a gateway whose hub stores it.

With missing readings, a silence beyond the largest gap, an old and an unknown age, a new life, a replaced sensor, own
settings and snapshots of a waveform (which `score` does not read). Of the same batch all is the same bit by bit.
"""

import csv
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_runtime.cli import main
from edge_runtime.clock import SystemClock
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from edge_runtime.score import PROGNOSIS
from edge_runtime.timestamps import format_times
from serving.database.queries import find_asset, read_features, read_prognoses
from serving.database.tables import twins
from serving.hub.hub import Hub
from serving.hub.settings import BrokerSettings, HubSettings
from serving.predict.answers import LIVES, SINGLE
from serving.registry.asset_settings import set_settings
from serving.registry.audit import Act
from serving.registry.owners import register
from serving.registry.settings import RegistrySettings
from tests.edge_runtime.broker import running, until
from tests.edge_runtime.tiny import tiny_bundle
from tests.serving.service import NANOS, T0, Client

ROWS = 40
EVENTS = ["none", "new_life", "sensor_replaced"]
TIME = {"unit": "s", "interval": 60, "tick": 600, "max_gap": 86_400, "assemble": False}
OFFSET = 1.5
GATEWAY = """
[gateway]
id = "gw-7"
site = "north"
data = "data"
machines = "machines.csv"
gather = {gather}
[bundles]
tiny = "bundles/tiny/bundle"
[link]
url = "{url}"
block_every = 0.05
[http]
enabled = false
[[source]]
type = "replay"
name = "recorded"
path = "table.csv"
speed = 0
waveforms = [{{ channel = "shake", axes = 1 }}]
"""


class History:
    """`ROWS` observations of each machine, as float32 says them."""

    def __init__(self, assets, seed=3):
        self.assets = assets
        random = np.random.default_rng(seed)
        shape = len(assets), ROWS
        steps = random.integers(30, 4000, shape)
        steps[:, 25] += 3 * 86_400  # silence
        self.time = T0 - 10 * 86_400 + np.cumsum(steps, axis=1)
        self.readings = random.normal((100, 1500), (30, 200), (*shape, 2)).astype(np.float32)
        self.readings[random.random(self.readings.shape) < 0.15] = np.nan
        self.readings[:, 7] = np.nan  # nothing at all
        self.age = np.cumsum(steps, axis=1).astype(np.float32) / 3600
        self.age[:, 15:20] = np.nan
        self.event = np.zeros(shape, int)
        self.event[:, 0] = self.event[:, 30] = 1
        self.event[:, 12] = 2
        self.shake = {
            (m, t): random.normal(size=4).astype(np.float32) for m in range(shape[0]) for t in range(3, 40, 9)
        }

    def write(self, folder, *, waveforms):
        lines = ["asset,time,flow,speed,event,age"]
        for t in range(ROWS):
            for m, asset in enumerate(self.assets):
                values = [*self.readings[m, t].tolist(), int(self.event[m, t]), float(self.age[m, t])]
                [when] = format_times(self.time[m, t : t + 1] * NANOS, "s")
                lines.append(",".join([asset, when, *("" if v != v else repr(v) for v in values)]))
        (folder / "table.csv").write_text("\n".join(lines) + "\n")
        machines = [f"{asset},tiny,{OFFSET}" for asset in self.assets]
        (folder / "machines.csv").write_text("\n".join(["asset,class,offset", *machines]) + "\n")
        shakes = self.shake if waveforms else {}
        keys = sorted(shakes) or [(0, 0)]  # a side file holds something, if only of a machine that is not here
        table = {
            "asset": [self.assets[m] if shakes else "elsewhere" for m, _ in keys],
            "time": pa.array([int(self.time[m, t]) * NANOS for m, t in keys], pa.timestamp("ns", tz="UTC")),
            "samples": pa.array([shakes.get(key, np.zeros(4)).tolist() for key in keys], pa.list_(pa.float32(), 4)),
        }
        pq.write_table(pa.table(table), folder / "table.shake.parquet")

    def observation(self, m, t, *, waveforms):
        flow, speed = (None if np.isnan(v) else float(v) for v in self.readings[m, t])
        told = {"time": int(self.time[m, t]), "readings": {"flow": flow, "speed": speed}}
        told |= {"event": EVENTS[self.event[m, t]], "age": None if np.isnan(self.age[m, t]) else float(self.age[m, t])}
        if waveforms and (m, t) in self.shake:
            told["waveforms"] = {"shake": [self.shake[m, t].tolist()]}
        return told


def score(folder):
    """Asset → output → f32[ROWS]."""
    arguments = [str(folder / "table.csv"), "-o", str(folder / "out.csv"), "--settings", str(folder / "settings.csv")]
    lines = (folder / "machines.csv").read_text().replace(",class", "").replace(",tiny", "")
    (folder / "settings.csv").write_text(lines)
    assert main(["score", str(folder / "bundles/tiny/bundle"), *arguments]) == 0
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        asset: {name: np.array([float(row[name] or "nan") for row in mine], np.float32) for name in PROGNOSIS}
        for asset in dict.fromkeys(row["asset"] for row in rows)
        for mine in [[row for row in rows if row["asset"] == asset]]
    }


@contextmanager
def hub_on(database, broker):
    hub = Hub(database, BrokerSettings(url=broker.url), HubSettings(wait=0.02), RegistrySettings(), SystemClock())
    hub.start()
    try:
        until(lambda: hub.ready)
        yield hub
    finally:
        hub.stop()


def stored(database, asset):
    """All outputs of all prognoses of a machine, in order of number; and the features of its snapshots."""
    with database.read() as connection:
        key = find_asset(connection, asset).id
        spans = list(read_prognoses(connection, key))
        features = [(number, body.tobytes()) for _, _, number, body in read_features(connection, key, "shake")]
    if not spans:
        return {}, features
    return {name: np.concatenate([span.outputs[name] for span in spans]) for name in spans[0].outputs}, features


def gateway(database, folder, assets, tmp_path, gather=0.0):
    """What a gateway says of its machines, as the hub has stored it."""
    with running("iotcore", tmp_path / "broker") as broker, hub_on(database, broker):
        path = folder / "gateway.toml"
        path.write_text(GATEWAY.format(url=broker.url, gather=gather))
        running_gateway = Gateway(read_config(path))
        running_gateway.start()
        try:
            until(lambda: all(len(stored(database, a)[0].get("rul", ())) == ROWS for a in assets), 60, "all prognoses")
        finally:
            running_gateway.stop()
    return {asset: stored(database, asset) for asset in assets}


def rows_of(answer):
    """Of an answer with every=true, observations or columns: output → f32[ROWS], null as it was."""
    told = {name: [] for name in (*SINGLE, "alarm")}
    for row in answer["prognoses"]:
        for name in told:
            value = row[name]
            told[name].append(np.inf if name in row["open"] else np.nan if value is None else value)
    return {name: np.array(values, np.float32) for name, values in told.items()}


def assert_same(one, other, names, tolerance=None):
    for name in names:
        a, b = (np.where(np.isinf(each[name]) & (name not in LIVES), np.nan, each[name]) for each in (one, other))
        if tolerance is None:
            # A NaN is a NaN: texts and columns of numbers know one only.
            assert np.array_equal(a, b, equal_nan=True), name
        else:
            np.testing.assert_allclose(a, b, atol=tolerance[name], rtol=0, equal_nan=True, err_msg=name)


def one_by_one(client, history, m, asset, *, waveforms):
    for t in range(ROWS):
        observation = history.observation(m, t, waveforms=waveforms)
        status, answer = client.predict(asset=asset, observations=[observation], **{"continue": True})
        assert (status, answer["prognoses"][0]["number"]) == (200, t + 1)


@pytest.fixture
def folder(tmp_path):
    tiny_bundle(tmp_path / "bundles/tiny/bundle", time=TIME)
    return tmp_path


def registered(database, *assets):
    """Each with a gateway; and one beside it whose twin is the centre's."""
    with database.write() as connection:
        for asset in assets:
            register(connection, Act("ann", 1), asset, "tiny", gateway="gw-7", site="north")
            register(connection, Act("ann", 1), f"{asset}-c", "tiny")
            set_settings(connection, Act("ann", 1), f"{asset}-c", {"offset": OFFSET})


@pytest.mark.parametrize("waveforms", [False, True])
def test_one_machine_bit_by_bit(database, folder, tmp_path, waveforms):
    """Alone in its batch everywhere."""
    registered(database, "p1")
    history = History(("p1",))
    history.write(folder, waveforms=waveforms)
    client = Client(folder / "bundles", database)
    outputs, features = gateway(database, folder, ["p1"], tmp_path)["p1"]
    assert len(features) == (len(history.shake) if waveforms else 0)
    one_by_one(client, history, 0, "p1-c", waveforms=waveforms)
    continued, own_features = stored(database, "p1-c")
    assert own_features == features
    assert_same(outputs, continued, outputs)
    assert outputs.keys() == continued.keys() >= {*PROGNOSIS, "quality", "contribution", "rul_model"}
    observations = [history.observation(0, t, waveforms=waveforms) for t in range(ROWS)]
    _, answer = client.predict(observations=observations, every=True, settings={"offset": OFFSET})
    assert_same(outputs, rows_of(answer), (*SINGLE, "alarm"))
    if not waveforms:
        assert_same(outputs, score(folder)["p1"], PROGNOSIS)
    assert np.isfinite(outputs["rul"]).all()
    assert len(np.unique(outputs["health"])) > 30, "a test of parity needs prognoses that differ"
    assert len(set(outputs["alarm"].tolist())) > 1
    with database.read() as connection:
        [state] = connection.execute(twins.select()).all()
    assert state.number == ROWS


def test_many_machines_within_the_parity_rule(database, folder, tmp_path):
    """In whatever batches they came: the tolerance that the bundle itself names."""
    assets = tuple(f"p{n}" for n in range(12))
    registered(database, *assets)
    history = History(assets)
    history.write(folder, waveforms=False)
    client = Client(folder / "bundles", database)
    tolerance = client.centre.catalogue.shelf.find("tiny").contract.tolerance["CPUExecutionProvider"]
    found = gateway(database, folder, assets, tmp_path, gather=0.003)
    scored = score(folder)
    order = [(m, t) for t in range(ROWS) for m in range(len(assets))]
    columns = {
        "asset": [assets[m] for m, _ in order],
        "time": [int(history.time[m, t]) for m, t in order],
        "event": [EVENTS[history.event[m, t]] for m, t in order],
        "age": [None if np.isnan(history.age[m, t]) else float(history.age[m, t]) for m, t in order],
        "readings": {
            name: [None if np.isnan(v := history.readings[m, t, c]) else float(v) for m, t in order]
            for c, name in enumerate(("flow", "speed"))
        },
    }
    status, answer = client.predict(columns=columns, every=True, settings={"offset": OFFSET})
    assert status == 200, answer
    told = answer["columns"]
    for m, asset in enumerate(assets):
        places = [at for at, name in enumerate(told["asset"]) if name == asset]
        said = {name: np.array([told[name][at] for at in places], np.float64) for name in (*SINGLE, "alarm")}
        for name in LIVES:
            said[name][[told["open"][name][at] for at in places]] = np.inf
        said = {name: value.astype(np.float32) for name, value in said.items()}
        outputs, _ = found[asset]
        assert_same(outputs, said, said, tolerance)
        assert_same(outputs, scored[asset], PROGNOSIS, tolerance)
        assert_same(said, scored[asset], PROGNOSIS)  # in lockstep both: one batch
        if m < 2:
            one_by_one(client, history, m, f"{asset}-c", waveforms=False)
            assert_same(outputs, stored(database, f"{asset}-c")[0], PROGNOSIS, tolerance)
