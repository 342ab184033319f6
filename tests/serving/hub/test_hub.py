"""Hubs as they run: real brokers, real databases, a gateway's own spool and link; all killed at random."""

import random
import time

import pytest
from sqlalchemy import func, select

from edge_runtime.clock import SystemClock
from edge_runtime.mqtt.wire import _AT_ONCE, _ROUNDS
from edge_runtime.tls import Tls
from serving.database.engine import Database
from serving.database.queries import find_asset, read_observations, read_prognoses
from serving.database.schema import upgrade
from serving.database.settings import DatabaseSettings
from serving.database.tables import alarms, counts, dead_letters, events, gateways, messages, observations, prognoses
from serving.hub.hub import Hub
from serving.hub.inbox import _OVERHEAD
from serving.hub.settings import BrokerSettings, HubSettings
from serving.registry.settings import RegistrySettings
from tests.edge_runtime.broker import MOSQUITTO, running, until
from tests.edge_runtime.certificates import Authority
from tests.edge_runtime.upstream.station import GATEWAY, Station, alarm, event
from tests.serving.hub import made
from tests.serving.hub.process import HubProcess
from tests.serving.postgres import Server, UnavailableError


@pytest.fixture
def broker(request, tmp_path):
    with running(request.param, tmp_path / "broker") as started:
        yield started


MOSQUITTO_THERE = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed here")
BOTH = pytest.mark.parametrize(
    ("broker", "database_settings"),
    [
        ("iotcore", "sqlite"),
        pytest.param("mosquitto", "postgresql", marks=MOSQUITTO_THERE),
        pytest.param("iotcore", "postgresql", marks=pytest.mark.slow),
        pytest.param("mosquitto", "sqlite", marks=[pytest.mark.slow, MOSQUITTO_THERE]),
    ],
    indirect=True,
)


def scalar(database, query):
    with database.read() as connection:
        return connection.execute(query).scalar()


def rows_in(database, table):
    return scalar(database, select(func.count()).select_from(table))


class Load:
    """Blocks of two machines, each number once, as a gateway makes them."""

    def __init__(self, station):
        self.station, self.sent = station, 0

    def spool(self, rows=5):
        numbers = range(self.sent + 1, self.sent + rows + 1)
        self.sent += rows
        sent = made.prognoses(("m1", "m2"), numbers), made.observations(("m1", "m2"), numbers)
        self.station.spool(*map(made.block, sent))

    def check(self, database):
        """All of it is there, once, bit by bit."""
        numbers = list(range(1, self.sent + 1))
        assert rows_in(database, prognoses) == rows_in(database, observations) == 2 * self.sent
        with database.read() as connection:
            for name in ("m1", "m2"):
                asset = find_asset(connection, name).id
                found = list(read_prognoses(connection, asset)), list(read_observations(connection, asset))
                for spans in found:
                    assert [n for span in spans for n in span.keys.number.tolist()] == numbers
                health = [value for span in found[0] for value in span.outputs["health"].tolist()]
                blocks = [made.prognoses(("m1", "m2"), range(at + 1, at + 6)) for at in range(0, self.sent, 5)]
                at = 5 * (name == "m2")
                assert health == [v for block in blocks for v in block.outputs["health"][at : at + 5].tolist()]
            assert connection.execute(select(dead_letters.c.detail)).all() == []


@BOTH
def test_two_hubs_share_the_work(broker, database, database_settings, tmp_path):
    hubs = [HubProcess(tmp_path / "hubs", database_settings, broker.url, name) for name in ("hub-1", "hub-2")]
    with hubs[0], hubs[1]:
        with Station(tmp_path / "station", broker.url).start() as station:
            load = Load(station)
            for number in range(20):
                load.spool()
                station.spool(event(number), alarm(number + 1))
            until(lambda: station.backlog() == 0, what="delivery")
            until(lambda: scalar(database, select(gateways.c.state)) == "online")
            assert station.link.dead_letters == 0
        until(lambda: scalar(database, select(gateways.c.state)) == "offline")
        load.check(database)
        assert rows_in(database, events) == 20
        assert [hub.stop() for hub in hubs] == [0, 0]
        done = [int(hub.text().split("has stopped after ")[1].split()[0]) for hub in hubs]
        assert min(done) > 10, done


def kill_at_random(broker, hubs, load, seconds, seed=1):
    """Load without a break, while one or another of them is killed and comes back."""
    dice = random.Random(seed)
    deadline = time.monotonic() + seconds
    killed = 0
    while time.monotonic() < deadline or killed < 3:
        for _ in range(dice.randint(1, 6)):
            load.spool()
            time.sleep(0.02)
        victim = dice.choice([*hubs, *hubs, broker])
        if victim is broker:
            broker.restart()
        else:
            victim.kill()
            victim.start(ready=False)
        killed += 1
        time.sleep(dice.uniform(0.1, 1.0))


@BOTH
@pytest.mark.parametrize("seconds", [2, pytest.param(120, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(
    broker, database, database_settings, tmp_path, seconds
):
    hubs = [HubProcess(tmp_path / "hubs", database_settings, broker.url, name) for name in ("hub-1", "hub-2")]
    try:
        for hub in hubs:
            hub.start()
        with Station(tmp_path / "station", broker.url).start() as station:
            load = Load(station)
            kill_at_random(broker, hubs, load, seconds)
            until(lambda: station.backlog() == 0, 60, "delivery")
            assert station.link.dead_letters == 0
        load.check(database)
        assert rows_in(database, messages) == load.sent // 5 * 2
    finally:
        for hub in hubs:
            hub.kill()


@pytest.fixture
def own_postgres():
    try:
        server = Server().start()
    except UnavailableError as error:
        pytest.skip(f"PostgreSQL does not run here: {error}")
    yield server
    server.remove()


def test_the_database_away(own_postgres, tmp_path):
    """Nothing is acknowledged while it is away; then it catches up."""
    own_postgres.run("CREATE DATABASE centre")
    settings = DatabaseSettings(url=own_postgres.url("centre"))
    database = Database(settings)
    upgrade(database)
    with (
        running("iotcore", tmp_path / "broker") as broker,
        HubProcess(tmp_path / "hubs", settings, broker.url) as hub,
        Station(tmp_path / "station", broker.url).start() as station,
    ):
        load = Load(station)
        load.spool()
        until(lambda: station.backlog() == 0)
        own_postgres.stop(9)  # SIGKILL
        for _ in range(20):
            load.spool()
        until(lambda: "the database is away" in hub.text())
        assert station.backlog() == 40
        own_postgres.start()
        until(lambda: station.backlog() == 0, what="catching up")
        assert "the database is back" in hub.text()
        database.close()
        load.check(database)
        assert hub.stop() == 0
    database.close()


def test_a_hub_that_is_stopped_while_the_database_is_away(own_postgres, tmp_path):
    own_postgres.run("CREATE DATABASE centre")
    settings = DatabaseSettings(url=own_postgres.url("centre"))
    database = Database(settings)
    upgrade(database)
    database.close()
    with (
        running("iotcore", tmp_path / "broker") as broker,
        HubProcess(tmp_path / "hubs", settings, broker.url) as hub,
        Station(tmp_path / "station", broker.url).start() as station,
    ):
        own_postgres.stop()
        station.spool(event(1))
        until(lambda: "the database is away" in hub.text())
        assert hub.stop() == 0
        assert station.backlog() == 1


def test_what_can_never_be_stored_holds_up_nothing(database, database_settings, tmp_path):
    """Should a table refuse something, only that message is put away."""
    with database.write() as connection:
        if database.sqlite:
            connection.exec_driver_sql(
                "CREATE TRIGGER no BEFORE INSERT ON events WHEN new.id = 'e3' BEGIN SELECT raise(ABORT, 'no'); END"
            )
        else:
            connection.exec_driver_sql("ALTER TABLE events ADD CONSTRAINT no CHECK (id <> 'e3')")
    with (
        running("iotcore", tmp_path / "broker") as broker,
        HubProcess(tmp_path / "hubs", database_settings, broker.url),
        Station(tmp_path / "station", broker.url).start() as station,
    ):
        station.spool(*map(event, range(8)))
        until(lambda: station.backlog() == 0)
    with database.read() as connection:
        assert sorted(connection.execute(select(events.c.id)).scalars()) == ["e0", "e1", "e2", "e4", "e5", "e6", "e7"]
        [(reason, detail)] = connection.execute(select(dead_letters.c.reason, dead_letters.c.detail))
        assert (reason, detail) == ("store", "IntegrityError")
        assert connection.execute(select(counts.c.value).where(counts.c.name == "dead_store")).scalar_one() == 1


def test_over_tls(database, tmp_path):
    authority = Authority(tmp_path / "tls")
    tls = {name: Tls(authority.ca, *authority.issue(name)) for name in ("localhost", "hub", GATEWAY)}
    server = tls["localhost"]
    with running("iotcore", tmp_path / "broker", tls=(server.ca, server.certificate, server.key)) as guarded:
        broker = BrokerSettings(url=guarded.url, tls=tls["hub"])
        hub = Hub(database, broker, HubSettings(wait=0), RegistrySettings(adopt=True), SystemClock())
        hub.start()
        try:
            until(lambda: hub.ready)
            with Station(tmp_path / "station", guarded.url, tls=tls[GATEWAY]).start() as station:
                station.spool(alarm(1))
                until(lambda: station.backlog() == 0, what="delivery")
        finally:
            hub.stop()
    assert rows_in(database, alarms) == 1


@MOSQUITTO_THERE
def test_memory_is_bounded_while_the_database_is_away(tmp_path, sqlite_template):
    """What does not fit stays with the broker, and the gateway keeps all of it.

    A MiB may wait, and what the connection reads in one round before it looks again. iotcore would never have that much
    on its way.
    """
    path = tmp_path / "centre.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(DatabaseSettings(url=f"sqlite:///{path}", busy=0.1))
    other = Database(DatabaseSettings(url=f"sqlite:///{path}"))
    settings = HubSettings(wait=0, waiting=1 << 20)
    with running("mosquitto", tmp_path / "broker") as broker:
        hub = Hub(database, BrokerSettings(url=broker.url), settings, RegistrySettings(adopt=True), SystemClock())
        hub.start()
        try:
            until(lambda: hub.ready)
            with Station(tmp_path / "station", broker.url, window=2000, window_bytes=1 << 26).start() as station:
                with other.write():  # and nobody else
                    station.spool(*(event(number, detail="x" * 1900) for number in range(1500)))
                    until(lambda: hub.away and hub.waiting[1] > 1 << 19, what="the inbox filling")
                    time.sleep(1)
                    letters, held = hub.waiting
                    assert held < settings.waiting + _AT_ONCE * _ROUNDS + letters * _OVERHEAD
                    assert hub.committed <= 1  # its status
                    assert station.backlog() == 1500
                until(lambda: station.backlog() == 0, 60, "catching up")
        finally:
            hub.stop()
    assert rows_in(database, events) == 1500
    database.close()
    other.close()
