"""The centre's hub: prognoses into SQLite and PostgreSQL, and a month of one machine out of a year of a thousand.

python -m benchmarks.hub                                     half a minute each, a smaller history
python -m benchmarks.hub --minutes 10 --days 365             as long and as much as it must bear
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import measure

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
GATEWAYS, MACHINES = 20, 50  # 1,000 machines
EVERY = 2.0  # s between two blocks of a gateway
CHANNELS = tuple(f"channel_{i}" for i in range(8))
SINGLE = ("health", "anomaly_score", "failure_probability", "rul", "rul_lower", "rul_upper", "warming_up", "unfamiliar")
START = 1_767_225_600 * SECOND


@dataclass(frozen=True)
class Load:
    """`rate` prognoses a second, and as many observations, of 1,000 machines behind 20 gateways."""

    rate: int
    observations: bool = True

    @property
    def rows(self) -> int:
        """Of each machine in a block."""
        return max(1, round(self.rate * EVERY / (GATEWAYS * MACHINES)))

    def blocks(self, gateway: int, turn: int) -> Iterator[Any]:
        """What a gateway sends at its `turn`: rows of prognoses, then those of observations."""
        from edge_runtime.contract.rows import Keys, Observations, Prognoses

        fleet = [f"machine-{gateway}-{i}" for i in range(MACHINES)]
        number = np.tile(np.arange(turn * self.rows + 1, (turn + 1) * self.rows + 1), MACHINES)
        rows = np.repeat(np.arange(MACHINES), self.rows)
        t = START + (number * EVERY * SECOND / self.rows).astype(np.int64)
        keys = Keys.of(fleet, rows, np.zeros(len(rows), np.int64), number, t)
        random = np.random.default_rng([gateway, turn])
        outputs = dict(zip(SINGLE, random.random((len(SINGLE), len(rows)), np.float32), strict=True))
        outputs["alarm"] = np.zeros(len(rows), np.float32)
        outputs["quality"] = np.zeros((len(rows), len(CHANNELS)), np.float32)
        outputs["contribution"] = random.random((len(rows), len(CHANNELS)), np.float32)
        outputs["rul_model"] = random.random((len(rows), 2), np.float32)
        yield Prognoses("pump", keys, outputs)
        if self.observations:
            readings = random.random((len(rows), len(CHANNELS)), np.float32)
            none = np.zeros(len(rows), np.float32)
            yield Observations("pump", keys, CHANNELS, t + 5, readings, none, none)

    def messages(self, gateway: int, turn: int) -> Iterator[tuple[str, str, bytes]]:
        """Topic, content type and payload."""
        from edge_runtime.contract import tables, topics
        from edge_runtime.contract.message import Lane, Spooled
        from edge_runtime.contract.wire import encode

        each = 2 if self.observations else 1
        for place, rows in enumerate(self.blocks(gateway, turn)):
            outgoing = tables.outgoing(rows, Lane.LIVE, time.time_ns(), "model-1")
            name = f"gateway-{gateway}"
            content, payload = encode(Spooled(1, turn * each + place + 1, outgoing), name, 1)
            yield topics.up("site", name, rows.kind), content, payload


def publish(url: str, load: Load, turns: int) -> None:
    """A process: all gateways, each in its turn at its time."""
    from urllib.parse import urlsplit

    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    client = Client(CallbackAPIVersion.VERSION2, "load", protocol=MQTTv5)
    client.max_inflight_messages_set(50)
    parts = urlsplit(url)
    client.connect(parts.hostname or "", parts.port or 1883)
    client.loop_start()
    begun, infos = time.monotonic(), []
    for turn in range(turns):
        for gateway in range(GATEWAYS):
            due = begun + EVERY * (turn + gateway / GATEWAYS)
            time.sleep(max(0.0, due - time.monotonic()))
            for topic, content, payload in load.messages(gateway, turn):
                properties = Properties(PacketTypes.PUBLISH)
                properties.ContentType = content
                infos.append(client.publish(topic, payload, 1, properties=properties))
    for info in infos[-100:]:
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def sustained(settings: Any, load: Load, minutes: float, keep: float) -> dict[str, Any]:
    """Through a real broker into `settings`, retention running: how far behind it falls, and what it costs."""
    from edge_runtime.clock import SystemClock
    from serving.database.engine import Database
    from serving.database.retention import Retention
    from serving.database.settings import RetentionSettings, Rule
    from serving.hub.hub import Hub
    from serving.hub.settings import BrokerSettings, HubSettings
    from serving.registry.settings import RegistrySettings
    from tests.edge_runtime.broker import running, until

    turns = max(2, round(minutes * 60 / EVERY))
    rules = tuple(Rule(kind, keep / 86_400) for kind in ("prognosis", "observation", "message"))
    database = Database(settings)
    folder = Path(tempfile.mkdtemp())
    try:
        with running("iotcore", folder) as broker:
            hub = Hub(
                database, BrokerSettings(url=broker.url), HubSettings(), RegistrySettings(adopt=True), SystemClock()
            )
            retention = Retention(database, RetentionSettings(every=5, rule=rules), SystemClock())
            hub.start()
            retention.start()
            until(lambda: hub.ready)
            process = multiprocessing.get_context("spawn").Process(target=publish, args=(broker.url, load, turns))
            process.start()
            until(lambda: hub.committed > 0, 30)
            measured = _watch(hub, process)
            expected = turns * GATEWAYS * (2 if load.observations else 1)
            until(lambda: hub.committed >= expected, 60, "the last commit")
            retention.stop()
            hub.stop()
            taken = _total(database)
    finally:
        database.close()
        shutil.rmtree(folder)
    sent = turns * GATEWAYS * MACHINES * load.rows
    assert taken["rows"] == sent * (2 if load.observations else 1), (taken, sent)
    return {
        "seconds": round(measured["seconds"], 1),
        "prognoses": sent,
        "prognoses_per_second": round(sent / measured["seconds"]),
        "cpu_share": round(measured["cpu"] / measured["seconds"], 3),
        "cpu_us_per_row": round(measured["cpu"] / taken["rows"] * 1e6, 1),
        "most_waiting_messages": measured["waiting"],
        "removed": dict(retention.removed),
    }


def _watch(hub: Any, process: Any) -> dict[str, Any]:
    """Until the load has ended."""
    own = psutil.Process()
    begun, cpu, waiting = time.monotonic(), sum(own.cpu_times()[:2]), 0
    while process.is_alive():
        process.join(0.5)
        waiting = max(waiting, hub.waiting[0])
    return {"seconds": time.monotonic() - begun, "cpu": sum(own.cpu_times()[:2]) - cpu, "waiting": waiting}


def _total(database: Any) -> dict[str, int]:
    from sqlalchemy import text

    with database.read() as connection:
        query = text("SELECT name, sum(value) FROM counts GROUP BY name")
        return {name: int(value) for name, value in connection.execute(query)}


def committing(settings: Any, load: Load, seconds: float) -> dict[str, Any]:
    """As fast as it goes, without a broker: messages decoded and committed by one thread, ten at a time."""
    from edge_runtime.clock import SystemClock
    from serving.database.engine import Database
    from serving.hub.reading import Letter, read
    from serving.hub.store import Store
    from serving.registry.settings import RegistrySettings

    database = Database(settings)
    store = Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)
    rows = spent = cpu = turn = 0.0
    turn = 0
    while spent < seconds:
        letters = [
            Letter(topic.encode(), content, payload)
            for gateway in range(GATEWAYS)
            for topic, content, payload in load.messages(gateway, turn)
        ]
        turn += 1
        began, used = time.perf_counter(), time.process_time()
        for at in range(0, len(letters), 10):
            store.commit([read(letter) for letter in letters[at : at + 10]])
        spent += time.perf_counter() - began
        cpu += time.process_time() - used
        rows += GATEWAYS * MACHINES * load.rows * (2 if load.observations else 1)
    database.close()
    return {"rows_per_second": round(rows / spent), "cpu_us_per_row": round(cpu / rows * 1e6, 1)}


def history(settings: Any, days: int, budget: float) -> dict[str, Any]:
    """A month of one machine out of `days` of hourly prognoses of 1,000 machines, stored in the order they came."""
    from serving.database.engine import Database
    from serving.database.queries import list_assets, read_prognoses

    database = Database(settings)
    began = time.perf_counter()
    rows = _fill(database, days)
    filled = time.perf_counter() - began
    with database.read() as connection:
        machines = [asset.id for asset in list_assets(connection)]
    random = np.random.default_rng(1)
    end = START + days * DAY
    found: list[int] = []

    def month() -> None:
        with database.read() as connection:
            spans = read_prognoses(connection, int(random.choice(machines)), end - 30 * DAY, end)
            found.append(sum(len(span.keys) for span in spans))

    timing = measure.timed(month, budget)
    database.close()
    assert set(found) == {min(days, 30) * 24}, set(found)
    return {"rows": rows, "fill_rows_per_second": round(rows / filled), "p50_us": timing.p50, "p99_us": timing.p99}


def _fill(database: Any, days: int) -> int:
    """Hour by hour, all machines."""
    from edge_runtime.clock import SystemClock
    from edge_runtime.contract.rows import Keys, Prognoses
    from serving.database import bulk, rows
    from serving.database.tables import prognoses
    from serving.hub.names import Layout, Names
    from serving.registry.settings import RegistrySettings

    count = GATEWAYS * MACHINES
    fleet = [f"machine-{i}" for i in range(count)]
    names = Names(RegistrySettings(adopt=True))
    total = 0
    for day in range(days):
        hours = np.arange(day * 24, (day + 1) * 24)
        number = np.repeat(hours + 1, count)
        keys = Keys.of(
            fleet, np.tile(np.arange(count), 24), np.zeros(len(number), np.int64), number, START + (number - 1) * HOUR
        )
        random = np.random.default_rng(day)
        outputs = dict(zip(SINGLE, random.random((len(SINGLE), len(keys)), np.float32), strict=True))
        outputs["alarm"] = np.zeros(len(keys), np.float32)
        outputs["contribution"] = random.random((len(keys), len(CHANNELS)), np.float32)
        body = Prognoses("pump", keys, outputs)
        layout = Layout("prognosis", "pump", rows.layout_of(body))
        if day == 0:
            machines = [(name, "pump", "gateway-0", 0) for name in fleet]
            names.learn(database, SystemClock().utc(), {"gateway-0": "site"}, ["model-1"], [layout], machines)
        columns: dict[str, Sequence[Any]] = {
            "t": keys.t.tolist(),
            "term": keys.term.tolist(),
            "number": number.tolist(),
        }
        with database.write() as connection:
            names.refresh(connection)
            ids = np.array([names.assets[name].id for name in keys.assets])
            columns |= {
                "asset": ids[keys.asset].tolist(),
                "t_rx": columns["t"],
                "model": [names.models["model-1"]] * len(keys),
            }
            columns |= {"layout": [names.layouts[layout.key]] * len(keys), **rows.prognosis_columns(body)}
            total += bulk.insert(connection, prognoses, columns)
    return total


@contextlib.contextmanager
def databases(wanted: Sequence[str]) -> Iterator[list[tuple[str, Any]]]:
    """(name, function that makes the settings of a fresh database with all tables)."""
    from serving.database.engine import Database
    from serving.database.schema import upgrade
    from serving.database.settings import DatabaseSettings
    from tests.serving.postgres import Server

    folder, server = Path(tempfile.mkdtemp()), Server(safe=True).start() if "postgresql" in wanted else None
    counter = iter(range(1000))

    def fresh(name: str) -> Any:
        number = next(counter)
        if server is not None and name == "postgresql":
            server.run(f"CREATE DATABASE bench{number}")
            settings = DatabaseSettings(url=server.url(f"bench{number}"))
        else:
            settings = DatabaseSettings(url=f"sqlite:///bench{number}.db", folder=folder)
        database = Database(settings)
        upgrade(database)
        database.close()
        return settings

    try:
        yield [(name, lambda name=name: fresh(name)) for name in wanted]
    finally:
        if server is not None:
            server.remove()
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.5, help="of load through the broker")
    parser.add_argument("--rate", type=int, default=5000, help="prognoses a second")
    parser.add_argument("--days", type=int, default=40, help="of history")
    parser.add_argument("--keep", type=float, default=10, help="seconds that the retention keeps rows")
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--parts", nargs="*", default=["committing", "sustained", "history"])
    parser.add_argument("--without-observations", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measure.single_threaded()
    load = Load(options.rate, not options.without_observations)
    result: dict[str, Any] = {"about": measure.about("sqlalchemy", "numpy"), "databases": {}}
    with databases(options.databases) as made:
        for name, fresh in made:
            mine: dict[str, Any] = {}
            if "committing" in options.parts:
                mine["committing"] = committing(fresh(), load, 5)
                print(name, "committing", mine["committing"], flush=True)
            if "sustained" in options.parts:
                mine["sustained"] = sustained(fresh(), load, options.minutes, options.keep)
                print(name, "sustained", mine["sustained"], flush=True)
            if "history" in options.parts:
                mine["history"] = history(fresh(), options.days, 2)
                print(name, "history", mine["history"], flush=True)
            result["databases"][name] = mine
    measure.write(options.json, result)
    assert threading.active_count() == 1


if __name__ == "__main__":
    main()
