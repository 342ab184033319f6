"""The database goes away under a service, a hub and a gateway; when it is back they go on, and nothing is lost."""

import json

import pytest

from serving.database.engine import Database
from serving.database.schema import upgrade
from serving.database.settings import DatabaseSettings
from serving.registry.audit import Act
from serving.registry.owners import register
from tests.edge_runtime.broker import running, until
from tests.edge_runtime.upstream.station import Station
from tests.serving.hub.process import HubProcess
from tests.serving.hub.test_hub import Load
from tests.serving.kills.test_kills import assert_kept, check_load
from tests.serving.postgres import Server, UnavailableError
from tests.serving.service import Client, seen


@pytest.fixture
def server():
    try:
        server = Server().start()
    except UnavailableError as error:
        pytest.skip(f"PostgreSQL does not run here: {error}")
    yield server
    server.remove()


def go_on(client, count):
    """Continue the twin of p1 by its next observation, under a key of its own."""
    body = {"fleet": "tiny", "asset": "p1", "continue": True, "observations": seen(60 * count)}
    got, answer, headers = client.request("POST", "/predict", body, {"Idempotency-Key": f"k-{count}"})
    if got == 503:
        assert answer["error"]["code"] == "away"
        assert float(headers["retry-after"]) > 0
    return got, answer


def test_the_database_is_killed_and_comes_back(server, tmp_path):
    server.run("CREATE DATABASE centre")
    settings = DatabaseSettings(url=server.url("centre"))
    database = Database(settings)
    upgrade(database)
    with database.write() as connection:
        register(connection, Act("ann", 1), "p1", "tiny")
    client = Client(tmp_path / "bundles", database)
    with (
        running("iotcore", tmp_path / "broker") as broker,
        HubProcess(tmp_path / "hubs", settings, broker.url) as hub,
        Station(tmp_path / "station", broker.url).start() as station,
    ):
        load = Load(station)
        load.spool()
        told = [go_on(client, count)[1] for count in range(3)]
        until(lambda: station.backlog() == 0)
        server.stop(9)  # SIGKILL
        for _ in range(5):
            load.spool()
        assert go_on(client, 3)[0] == 503
        assert go_on(client, 3)[0] == 503
        status, answer, headers = client.request("GET", "/readyz")
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in headers
        assert client.predict(observations=seen(0))[0] == 200  # needs no database
        until(lambda: "the database is away" in hub.text())
        assert station.backlog() == 10
        server.start()

        def answered():
            status, answer = go_on(client, len(told))
            return status == 200 and (told.append(answer) or True)

        until(answered, what="an answer")
        assert go_on(client, len(told))[0] == 200
        told.append(go_on(client, len(told))[1])  # the same key: the answer it had
        until(lambda: station.backlog() == 0, 60, "catching up")
    assert_kept(database, "p1", told)
    check_load(database, load)
    assert json.dumps(told[-1]) == json.dumps(go_on(client, len(told) - 1)[1])
    database.close()
