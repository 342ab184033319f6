"""A machine goes from a gateway that is lost to another one, over a real broker and a real hub."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

from edge_runtime.bundle import Bundle
from edge_runtime.clock import SystemClock
from edge_runtime.contract.request import Request
from edge_runtime.contract.topics import down
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from serving.assignments.send import AssignmentSender
from serving.assignments.settings import AssignmentSettings
from serving.database.queries import find_asset, list_gateways, read_prognoses
from serving.database.tables import alarms, counts, states
from serving.hub.hub import Hub
from serving.hub.settings import BrokerSettings, HubSettings
from serving.models.catalogue import Catalogue
from serving.models.settings import ModelsSettings
from serving.registry.asset_settings import set_settings
from serving.registry.assignments import find_wanted
from serving.registry.audit import Act
from serving.registry.owners import assign
from serving.registry.settings import RegistrySettings
from tests.edge_runtime.broker import iotcore, until  # noqa: F401
from tests.edge_runtime.gateway.limited import limited_bundle

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECOND = 1_000_000_000
CYCLES = {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50, "assemble": False}
PLACE = """
[gateway]
id = "{name}"
site = "north"
data = "data"
machines = "machines.csv"
[bundles]
tiny = "bundle"
[link]
url = "{url}"
block_every = 0.1
backfill_every = 0.1
[assignments]
enabled = true
public_key = "centre.pem"
[http]
enabled = false
[[source]]
type = "mqtt"
name = "plant"
url = "{url}"
topics = [{{ topic = "{name}/{{asset}}/readings" }}]
"""


class Plant:
    """Two gateways that could have the same machine, a hub, and the machine, which is wired to one of them."""

    def __init__(self, folder, url, port, database, replay):
        self.folder, self.url, self.database = folder, url, database
        self.clock = SystemClock()
        bundle = limited_bundle(folder / "bundle", time=CYCLES)
        self.bundle = Bundle.load(bundle)
        catalogue = Catalogue.of(ModelsSettings(folders=("bundle",), base=folder))
        catalogue.refresh()
        settings = AssignmentSettings(enabled=True, again=0.5)
        sender = AssignmentSender(settings, KEY, catalogue.shelf.by_model if replay else None)
        registry = RegistrySettings(adopt=True)
        hub = HubSettings(wait=0.02)
        self.hub = Hub(database, BrokerSettings(url=url), hub, registry, self.clock, [sender])
        self.hub.start()
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.gateways = {}

    def start(self, name):
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            (place / "bundle").symlink_to(self.folder / "bundle")
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            (place / "centre.pem").write_bytes(KEY.public_key().public_bytes(serialization.Encoding.PEM, form))
            (place / "machines.csv").write_text("asset,class,term\np-1,tiny,\n")
            (place / "gateway.toml").write_text(PLACE.format(name=name, url=self.url))
        gateway = self.gateways[name] = Gateway(read_config(place / "gateway.toml"))
        gateway.start()
        until(lambda: all(source.subscribed for source in gateway.sources), 60, "the source")
        until(lambda: name in self.online(), 60, f"{name} online")
        return gateway

    def stop(self):
        self.client.loop_stop()
        self.client.disconnect()
        for gateway in self.gateways.values():
            gateway.stop()
        self.hub.stop()

    def online(self):
        with self.database.read() as connection:
            return {gateway.name for gateway in list_gateways(connection) if gateway.state == "online"}

    def send(self, name, cycles):
        """The machine's readings of these cycles, to one of the gateways."""
        for cycle in cycles:
            body = json.dumps({"time": cycle * SECOND, **reading(cycle)})
            self.client.publish(f"{name}/p-1/readings", body, 1).wait_for_publish(20)

    def prognoses(self):
        """(term, number) → outputs, as they are stored."""
        with self.database.read() as connection:
            try:
                asset = find_asset(connection, "p-1").id
            except Exception:
                return {}
            return {
                (int(span.keys.term[at]), int(span.keys.number[at])): {
                    name: np.asarray(values[at]).tobytes() for name, values in span.outputs.items()
                }
                for span in read_prognoses(connection, asset)
                for at in range(len(span.keys))
            }

    def wanted(self):
        with self.database.read() as connection:
            return find_wanted(connection, "p-1")

    def act(self):
        return Act("anna", self.clock.utc(), "a test")

    def count(self, name):
        with self.database.read() as connection:
            query = select(counts.c.value).where(counts.c.name == name)
            return sum(connection.execute(query).scalars())

    def scalars(self, query):
        with self.database.read() as connection:
            return connection.execute(query).scalars().all()


def reading(cycle):
    return {"flow": float(cycle % 7), "speed": float(cycle % 5)}


def uninterrupted(bundle, cycles, settings=None):
    """number → outputs of a twin that nothing ever happened to; `settings`: number → offset from there on."""
    fleet, found = bundle.fleet(["p-1"]), {}
    for number, cycle in enumerate(cycles, start=1):
        if settings and number in settings:
            fleet.settings[:] = settings[number]
        values = np.array([list(reading(cycle).values())], np.float32)
        outputs, _ = fleet.advance(slice(None), np.array([cycle * SECOND]), values)
        found[number] = {name: np.asarray(values[0]).tobytes() for name, values in outputs.items() if len(values)}
    return found


@pytest.fixture(params=["snapshot", "replay"])
def plant(request, iotcore, database, tmp_path):  # noqa: F811
    made = Plant(tmp_path, iotcore.url, iotcore.port, database, request.param == "replay")
    yield made
    made.stop()


def same(stored, expected):
    """Bit by bit, all outputs that are stored."""
    names = stored.keys() & expected.keys()
    assert {"health", "rul", "alarm", "contribution", "anomaly_score"} <= names
    return all(stored[name] == expected[name] for name in names)


@pytest.mark.parametrize(
    "database_settings", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.parametrize("plant", ["snapshot"], indirect=True)
def test_another_gateway_goes_on_where_one_was_lost(plant):
    first = plant.start("gw-a")
    plant.send("gw-a", range(1, 9))
    until(lambda: len(plant.prognoses()) == 8, 60, "prognoses")
    first.stop()  # with a snapshot of the twin; it may come back
    until(lambda: plant.scalars(select(states.c.number)), 60, "the snapshot")
    assert max(plant.scalars(select(states.c.number))) == 8

    second = plant.start("gw-b")
    with plant.database.write() as connection:
        assign(connection, plant.act(), "p-1", "gw-b", term=0)
    until(lambda: plant.wanted().status == "done", 60, "the answer")
    wanted = plant.wanted()
    assert (wanted.gateway, wanted.term, wanted.settings_version, wanted.reason) == ("gw-b", 1, 0, "")
    assert "the snapshot after observation 8 of term 0" in wanted.sent
    assert "not in it" not in wanted.sent
    plant.send("gw-b", range(9, 13))
    until(lambda: (1, 12) in plant.prognoses(), 60, "prognoses of the new owner")
    stored, expected = plant.prognoses(), uninterrupted(plant.bundle, range(1, 13))
    assert sorted(stored) == [(0, number) for number in range(1, 9)] + [(1, number) for number in range(9, 13)]
    assert all(same(stored[term, number], expected[number]) for term, number in stored)

    plant.start("gw-a")  # it knows nothing of it yet
    plant.send("gw-a", range(9, 11))
    until(lambda: plant.count("refused_old_term") >= 4, 60, "the refusal")
    assert plant.prognoses() == stored

    # The limit of its alarm is lowered at the centre: at the next observation the gateway raises it.
    assert plant.scalars(select(alarms.c.id)) == []
    with plant.database.write() as connection:
        set_settings(connection, plant.act(), "p-1", {"offset": -1.0}, contract=plant.bundle.contract)
    until(lambda: plant.wanted().status == "done" and plant.wanted().settings_version == 1, 60, "the settings")
    assert second.status().bundles[0].settings == {"p-1": 1}
    plant.send("gw-b", [13])
    until(lambda: plant.scalars(select(alarms.c.level)) == [1], 60, "the alarm")
    assert plant.scalars(select(alarms.c.number)) == [13]

    # And the alarm goes on under its id when the machine goes back, under settings that the first never had.
    second.stop()
    until(lambda: max(plant.scalars(select(states.c.number))) == 13, 60, "the snapshot")
    with plant.database.write() as connection:
        assign(connection, plant.act(), "p-1", "gw-a", term=1)
    until(lambda: plant.wanted().status == "done", 60, "the answer")
    with plant.database.write() as connection:
        set_settings(connection, plant.act(), "p-1", {"offset": 9.0}, contract=plant.bundle.contract)
    until(lambda: plant.wanted().status == "done", 60, "the settings")
    plant.send("gw-a", [14])
    until(lambda: plant.scalars(select(alarms.c.state)) == ["cleared"], 60, "the end of the alarm")
    until(lambda: (2, 14) in plant.prognoses(), 60, "its prognosis")
    expected = uninterrupted(plant.bundle, range(1, 15), {13: -1.0, 14: 9.0})
    assert same(plant.prognoses()[2, 14], expected[14])


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
def test_what_came_after_the_snapshot(plant, request):
    """With the bundle at hand it is in the state that is sent; without, the centre says that it is not."""
    replay = "replay" in request.node.callspec.id
    first = plant.start("gw-a")
    plant.send("gw-a", range(1, 5))
    until(lambda: len(plant.prognoses()) == 4, 60, "prognoses")
    plant.client.publish(down("north", "gw-a", "request"), Request("r", "state").pack(), 1)
    until(lambda: plant.scalars(select(states.c.number)) == [4], 60, "the snapshot")
    plant.send("gw-a", range(5, 8))
    until(lambda: len(plant.prognoses()) == 7, 60, "prognoses")
    first.engine.send_states = lambda *_: None  # as if its computer had burnt
    first.stop()

    plant.start("gw-b")
    with plant.database.write() as connection:
        assign(connection, plant.act(), "p-1", "gw-b")
    until(lambda: plant.wanted().status == "done", 60, "the answer")
    told = plant.wanted().sent
    assert ("a snapshot and 3 observations since" in told) is replay
    assert ("3 observations stored since are not in it" in told) is not replay
    plant.send("gw-b", range(8, 10))
    until(lambda: max(plant.prognoses()) == ((1, 9) if replay else (1, 6)), 60, "prognoses")
    stored, expected = plant.prognoses(), uninterrupted(plant.bundle, range(1, 10))
    if replay:
        assert all(same(stored[1, number], expected[number]) for number in (8, 9))
    else:
        assert not any(same(stored[1, number - 3], expected[number]) for number in (8, 9))
