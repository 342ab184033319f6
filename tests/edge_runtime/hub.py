"""A stand-in for the centre's hub: a process that commits what gateways send, and then acknowledges it.

    hub = Hub(broker.url, folder).start()      # subscribes to all gateways
    hub.tell(slow=0.2)                         # see `Orders`
    hub.kill()                                 # SIGKILL; start() goes on with what it had committed
    hub.rows("observation")                    # (asset, term, number) → bytes of the row

Transport and business keys are unique in its database. `hub.count("conflict")` tells how often a business key came
again with another content, "repeated" with the same under another transport key, "duplicate" the same message again.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_runtime.contract import topics
from edge_runtime.contract.acks import AckTracker, parse_ack
from edge_runtime.contract.bodies import Ack, Alarm, Event, to_json
from edge_runtime.contract.keys import business_keys
from edge_runtime.contract.message import JSON
from edge_runtime.contract.rows import Observations, Prognoses, States, Summaries
from edge_runtime.contract.text import dump
from edge_runtime.contract.wire import Message, decode
from edge_runtime.errors import WireError
from edge_runtime.tls import Tls

ROOT = Path(__file__).parents[2]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    arrived INTEGER PRIMARY KEY, at INTEGER, gateway TEXT, epoch INTEGER, lane TEXT, seq INTEGER, kind TEXT, asset TEXT,
    t INTEGER, t_rx INTEGER, backfill INTEGER, model_id TEXT, bytes INTEGER, UNIQUE (gateway, epoch, lane, seq));
CREATE TABLE IF NOT EXISTS rows (
    asset TEXT, term INTEGER, number INTEGER, kind TEXT, value BLOB, arrived INTEGER,
    PRIMARY KEY (asset, term, number, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (arrived INTEGER PRIMARY KEY, kind TEXT, id TEXT, body TEXT);
CREATE TABLE IF NOT EXISTS statuses (arrived INTEGER PRIMARY KEY, gateway TEXT, body TEXT);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS acks (site TEXT, gateway TEXT, body TEXT, PRIMARY KEY (site, gateway));
"""


@dataclass
class Orders:
    """How the hub behaves. `slow`: seconds before each commit. `away`: not connected to the broker. `silent`: commits,
    but acknowledges nothing. `refuse`: kinds, or [lane, seq], that are neither committed nor acknowledged.
    """

    slow: float = 0.0
    away: bool = False
    silent: bool = False
    refuse: list[Any] = field(default_factory=list)


class Hub:
    """The handle that tests have. `persistent`: the broker keeps messages for it while it is away."""

    def __init__(
        self, url: str, folder: Path, *, tls: Tls | None = None, persistent: bool = False, **orders: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "hub.db"
        self._options = {"url": url, "path": str(self.path), "persistent": persistent, "orders": orders}
        if tls is not None:
            self._options["tls"] = {f.name: str(getattr(tls, f.name)) for f in fields(tls)}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "Hub":
        assert self._process is None, "it runs"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._expect("ready")
        return self

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def tell(self, **orders: Any) -> None:
        """Change its orders; followed when this returns. Those not named stay."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        self._expect("done")

    def __enter__(self) -> "Hub":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Of its database, whether it runs or not."""
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def messages(self, *kinds: str) -> list[dict[str, Any]]:
        """Transport key and what else the envelope says, in the order of arrival; of all kinds if none is named."""
        names = ("gateway", "epoch", "lane", "seq", "kind", "asset", "t", "t_rx", "backfill", "model_id", "bytes", "at")
        found = [
            dict(zip(names, row, strict=True))
            for row in self.query(f"SELECT {', '.join(names)} FROM messages ORDER BY arrived")
        ]
        return [message for message in found if not kinds or message["kind"] in kinds]

    def rows(self, kind: str) -> dict[tuple[str, int, int], bytes]:
        """(asset, term, number) → the content of the row."""
        rows = self.query("SELECT asset, term, number, value FROM rows WHERE kind = ?", kind)
        return {(asset, term, number): value for asset, term, number, value in rows}

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Bodies of events or answers to commands, in the order of arrival."""
        return [
            json.loads(body) for (body,) in self.query("SELECT body FROM told WHERE kind = ? ORDER BY arrived", kind)
        ]

    def statuses(self) -> list[dict[str, Any]]:
        return [json.loads(body) for (body,) in self.query("SELECT body FROM statuses ORDER BY arrived")]

    def count(self, name: str) -> int:
        return sum(value for (value,) in self.query("SELECT value FROM counts WHERE name = ?", name))

    def counts(self) -> dict[str, int]:
        return dict(self.query("SELECT name, value FROM counts"))  # type: ignore[arg-type]

    def _expect(self, line: str) -> None:
        assert self._process
        assert self._process.stdout
        got = self._process.stdout.readline().strip()
        assert got == line, f"the hub said {got!r} instead of {line!r}"


# From here on: the process.


def content(message: Message) -> list[bytes]:
    """The content of each row of a message, in the order of its business keys."""
    body = message.body
    if isinstance(body, Alarm):
        return [dump(to_json(body))]
    if isinstance(body, bytes):
        return [body]
    if isinstance(body, Observations):
        columns = [body.readings, body.event, body.age, body.keys.t]
    elif isinstance(body, Prognoses):
        columns = [body.outputs[name] for name in sorted(body.outputs)]
    elif isinstance(body, Summaries):
        columns = [body.start, body.count, body.received, body.minimum, body.mean, body.maximum, body.alarm, body.flags]
    elif isinstance(body, States):
        columns = [body.state]
    else:
        return []
    return [b"".join(column[row].tobytes() for column in columns) for row in range(len(body.keys))]


class Process:
    def __init__(
        self, url: str, path: str, persistent: bool, orders: dict[str, Any], tls: dict[str, str] | None = None
    ):
        self.url, self.persistent, self.orders = urlsplit(url), persistent, Orders(**orders)
        self.tls = None if tls is None else Tls(**{name: Path(value) for name, value in tls.items()})
        self.database = sqlite3.connect(path)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.executescript(_SCHEMA)
        self.trackers: dict[tuple[str, str], AckTracker] = {}
        for site, gateway, body in self.database.execute("SELECT site, gateway, body FROM acks"):
            self.trackers[site, gateway] = AckTracker([parse_ack(dump(one)) for one in json.loads(body)])
        self.waiting: list[tuple[str, str, bytes]] = []
        self.counts: Counter[str] = Counter()
        self.told: SimpleQueue[str] = SimpleQueue()
        self.client: Client | None = None
        self.subscribed = self.ready = False

    def run(self) -> None:
        threading.Thread(target=self.listen, daemon=True).start()
        while True:
            self.obey()
            if self.client is None and not self.orders.away:
                self.connect()
            if self.client is None:
                time.sleep(0.02)
            elif self.client.loop(0.02) != 0:
                self.client, self.subscribed = None, False
                time.sleep(0.05)
            if self.waiting:
                self.commit()

    def listen(self) -> None:
        for line in sys.stdin:
            self.told.put(line)
        os._exit(0)  # the test has ended

    def obey(self) -> None:
        try:
            while True:
                for name, value in json.loads(self.told.get_nowait()).items():
                    setattr(self.orders, name, value)
                if self.orders.away and self.client is not None:
                    self.client.disconnect()
                    self.client, self.subscribed = None, False
                print("done", flush=True)
        except Empty:
            pass

    def connect(self) -> None:
        client = Client(CallbackAPIVersion.VERSION2, "hub", protocol=MQTTv5)
        if self.tls is not None:
            client.tls_set_context(self.tls.context())
        client.on_connect = self.on_connect
        client.on_subscribe = self.on_subscribe
        client.on_message = self.on_message
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if self.persistent else 0
        try:
            client.connect(
                self.url.hostname or "", self.url.port or 0, 30, clean_start=not self.persistent, properties=properties
            )
        except OSError:
            time.sleep(0.05)
            return
        self.client = client

    def on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(pattern, 1) for pattern in topics.upward()])

    def on_subscribe(self, *_: Any) -> None:
        self.subscribed = True
        for (site, gateway), tracker in self.trackers.items():  # what it has, for gateways that wait for an answer
            for ack in tracker.state():
                self.publish(topics.down(site, gateway, "ack"), ack.pack())
        if not self.ready:
            self.ready = True
            print("ready", flush=True)

    def on_message(self, _client: Client, _userdata: Any, message: Any) -> None:
        kind = getattr(message.properties, "ContentType", "")
        self.waiting.append((message.topic, kind, bytes(message.payload)))

    def commit(self) -> None:
        """All that has come, in one transaction; then the acknowledgements."""
        if self.orders.slow:
            time.sleep(self.orders.slow)
        waiting, self.waiting = self.waiting, []
        concerned = set()
        with self.database:
            for topic, kind, payload in waiting:
                try:
                    concerned.add(self.take(topic, kind, payload))
                except WireError as error:
                    self.counts[f"dead_{error.reason}"] += 1
            for site, gateway in filter(None, concerned):
                said = [json.loads(ack.pack()) for ack in self.trackers[site, gateway].state()]
                self.database.execute("INSERT OR REPLACE INTO acks VALUES (?, ?, ?)", (site, gateway, json.dumps(said)))
            for name, value in self.counts.items():
                self.database.execute(
                    "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                    (name, value),
                )
            self.counts.clear()
        for site, gateway in filter(None, concerned):
            for ack in self.trackers[site, gateway].take():
                if not self.orders.silent:
                    self.publish(topics.down(site, gateway, "ack"), ack.pack())

    def take(self, topic: str, content_type: str, payload: bytes) -> tuple[str, str] | None:
        """One message into the running transaction: the gateway to which it is to be acknowledged."""
        where = topics.parse(topic)
        self.counts["received"] += 1
        if where.direction == "status":
            self.database.execute("INSERT INTO statuses VALUES (NULL, ?, ?)", (where.gateway, payload.decode()))
            return None
        message = decode(content_type, payload)
        envelope = message.envelope
        assert (envelope.gateway, envelope.kind, envelope.asset) == (where.gateway, where.kind, where.asset)
        if {envelope.kind, (envelope.lane, envelope.seq)} & {
            tuple(r) if isinstance(r, list) else r for r in self.orders.refuse
        }:
            self.counts["refused"] += 1
            return None
        tracker = self.trackers.setdefault((where.site, where.gateway), AckTracker())
        tracker.commit(envelope.epoch, envelope.order, envelope.seq, envelope.floor)
        values = (
            envelope.gateway,
            envelope.epoch,
            envelope.lane,
            envelope.seq,
            envelope.kind,
            envelope.asset,
            envelope.t,
        )
        values += (envelope.t_rx, envelope.backfill, envelope.model_id, len(payload))
        cursor = self.database.execute(
            f"INSERT OR IGNORE INTO messages VALUES (NULL, ?, {', '.join('?' * len(values))})",
            (time.monotonic_ns(), *values),
        )
        if cursor.rowcount == 0:
            self.counts["duplicate"] += 1
        else:
            self.store(message, cursor.lastrowid)
        return where.site, where.gateway

    def store(self, message: Message, arrived: int | None) -> None:
        if isinstance(message.body, Event | Ack):
            body = dump(to_json(message.body)).decode()
            self.database.execute(
                "INSERT INTO told VALUES (NULL, ?, ?, ?)", (message.envelope.kind, message.body.id, body)
            )
            return
        for key, value in zip(business_keys(message), content(message), strict=True):
            row = (*key, value, arrived)
            order = ("asset", "term", "number", "kind")
            assert key._fields == order
            if self.database.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
                continue
            query = "SELECT value FROM rows WHERE asset = ? AND term = ? AND number = ? AND kind = ?"
            same = self.database.execute(query, key).fetchone()[0] == value
            self.counts["repeated" if same else "conflict"] += 1
            if same and key.kind == "state":
                self.counts["repeated_state"] += 1

    def publish(self, topic: str, payload: bytes) -> None:
        if self.client is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = JSON
            self.client.publish(topic, payload, 1, properties=properties)


if __name__ == "__main__":
    Process(**json.loads(sys.argv[1])).run()
