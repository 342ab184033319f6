"""Services, hub and broker killed at random under load: what was acknowledged is there, once, bit by bit."""

import random
import time

import numpy as np
import pytest
from sqlalchemy import select

from serving.database.queries import find_asset, read_observations, read_prognoses
from serving.database.tables import messages, twins
from serving.predict.answers import LIVES, SINGLE
from serving.registry.audit import Act
from serving.registry.owners import register
from tests.edge_runtime.broker import running, until
from tests.edge_runtime.tiny import tiny_bundle
from tests.edge_runtime.upstream.station import Station
from tests.serving.hub.process import HubProcess
from tests.serving.hub.test_hub import Load, rows_in
from tests.serving.kills.callers import Caller, Racer, ServiceProcess

ASSETS = [f"p{number}" for number in range(6)]
SERVICE = """
[service]
insecure = true
[service.models]
folders = ["bundles/*/bundle"]
every = 0.2
"""


def kept(database, name):
    """What the database has of a machine: (number, model, time, outputs) of each prognosis; and its twin's number."""
    with database.read() as connection:
        asset = find_asset(connection, name).id
        found = []
        for span in read_prognoses(connection, asset):
            for row, number in enumerate(span.keys.number.tolist()):
                outputs = {output: span.outputs[output][row] for output in (*SINGLE, "alarm")}
                found.append((number, span.model_id, int(span.keys.t[row]), outputs))
        observed = [n for span in read_observations(connection, asset) for n in span.keys.number.tolist()]
        number = connection.execute(select(twins.c.number).where(twins.c.asset == asset)).scalar()
    assert observed == [number for number, *_ in found]
    return found, number


def assert_kept(database, name, answers):
    """All `answers`, in order of number, are what is stored of `name`, and nothing else is."""
    found, number = kept(database, name)
    assert [each[0] for each in found] == list(range(1, len(answers) + 1)), name
    assert number == len(answers)
    for (stored, model, _, outputs), answer in zip(found, answers, strict=True):
        assert answer["stored"]
        [told] = answer["prognoses"]
        assert (told["number"], answer["model"]["model_id"]) == (stored, model)
        for output, value in outputs.items():
            if told[output] is None:
                assert np.isnan(value) or (output in LIVES and value == np.inf)
            else:
                assert np.float32(told[output]) == value, (name, stored, output)


@pytest.fixture
def folder(database, tmp_path):
    """Of hubs and services, with a bundle; the machines are registered, those of the clients with the centre."""
    with database.write() as connection:
        for name in (*ASSETS, "race"):
            register(connection, Act("ann", 1), name, "tiny")
    (tmp_path / "centre").mkdir()
    tiny_bundle(tmp_path / "centre/bundles/tiny/bundle")
    return tmp_path / "centre"


def check_load(database, load):
    """What the gateway's stand-in has spooled is there, once."""
    for name in ("m1", "m2"):
        found, _ = kept(database, name)
        assert [each[0] for each in found] == list(range(1, load.sent + 1))


def kill(victim):
    if hasattr(victim, "restart"):
        victim.restart()  # the broker
    else:
        victim.kill()
        victim.start(ready=False)


def victims(dice, kills, *candidates):
    """Each of them before any comes again."""
    order = []
    while len(order) < kills:
        order += dice.sample(candidates, len(candidates))
    return order[:kills]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("kills", "whole"),
    [(4, False), pytest.param(100, False, marks=pytest.mark.slow), pytest.param(20, True, marks=pytest.mark.slow)],
)
def test_killed_at_random(database, database_settings, folder, tmp_path, kills, whole):
    """Two services, a hub and the broker, and another bundle in the middle of it."""
    dice = random.Random(kills)
    with running("iotcore", tmp_path / "broker") as broker:
        hub = HubProcess(folder, database_settings, broker.url, more=SERVICE)
        services = [ServiceProcess(hub.config, f"service-{n}", whole=whole) for n in (1, 2)]
        clients = [Caller(services, n, ASSETS[n::2]) for n in (0, 1)]
        clients += [Racer(services, n, "race") for n in (2, 3)]
        try:
            for part in (*services, hub):
                part.start(ready=False)
            for client in clients:
                client.start()
            with Station(tmp_path / "station", broker.url).start() as station:
                load = Load(station)
                until(lambda: all(len(told) > 3 for told in clients[0].told.values()), 300, "the first answers")
                for turn, victim in enumerate(victims(dice, kills, *services, hub, broker)):
                    until_then = time.monotonic() + dice.uniform(0.1, 0.7 if kills < 10 else 4)
                    while time.monotonic() < until_then:
                        load.spool()
                        time.sleep(0.05)
                    kill(victim)
                    if turn == kills // 2:
                        tiny_bundle(folder / "bundles/tiny/bundle", title="another")
                before = sum(len(told) for client in clients[:2] for told in client.told.values())
                until(lambda: sum(len(t) for c in clients[:2] for t in c.told.values()) > before + 20, 90, "more")
                for client in clients:
                    client.stop()
                until(lambda: not any(client.is_alive() for client in clients), 120, "the last answers")
                until(lambda: station.backlog() == 0, 90, "delivery")
        finally:
            for part in (*services, hub):
                part.kill()
    for client in clients:
        assert client.failure is None, client.failure
    check_load(database, load)
    assert rows_in(database, messages) == load.sent // 5 * 2
    for client in clients[:2]:
        for name, told in client.told.items():
            assert_kept(database, name, told)
    one, other = (client.won for client in clients[2:])
    assert not set(one) & set(other)
    answers = one | other
    assert_kept(database, "race", [answers[number] for number in sorted(answers)])
    for client in clients[2:]:  # who did not win a number lost it
        assert sorted([*client.won, *client.lost]) == list(range(1, len(client.won) + len(client.lost) + 1))
    assert len({answer["model"]["model_id"] for answer in answers.values()}) == 2
    assert sum(client.again for client in clients) > 0
    print({"kills": kills, "acknowledged": sum(len(t) for c in clients[:2] for t in c.told.values())})
    print({"races": len(answers), "won": (len(one), len(other)), "tried again": sum(c.again for c in clients)})
