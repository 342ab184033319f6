"""Killed at random moments under load, a gateway and the centre come to what one that never stopped comes to."""

import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane
from edge_runtime.journal.entries import unpack_batch
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from tests.edge_runtime.broker import KINDS, running, until
from tests.edge_runtime.crash.plant import TERM, Gateway, Plant, by_machine, uninterrupted
from tests.edge_runtime.hub import Hub

SHORT_AND_FULL = [4, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]


@pytest.fixture
def centre(tmp_path):
    with running("iotcore", tmp_path / "centre") as started:
        yield started


def assert_same(hub, folder, history):
    """The hub has every observation of `history` once, and what a gateway that never stopped says of each."""
    prognoses, alarms, states = uninterrupted(folder, history)
    assert hub.rows("prognosis") == prognoses
    assert hub.rows("observation").keys() == prognoses.keys()
    assert hub.rows("alarm").keys() == alarms
    assert len(alarms) > 100, "a test of alarms needs some"
    last = {asset: max(number for a, _, number in prognoses if a == asset) for asset in history}
    told = hub.rows("state")
    assert {(asset, TERM, number): told.get((asset, TERM, number)) for asset, number in last.items()} == states
    assert hub.count("conflict") == 0
    assert hub.count("repeated") == 0


def count(hub, kind):
    return hub.query("SELECT count(*) FROM rows WHERE kind = ?", kind)[0][0]


def finish(hub, gateway):
    """End the gateway, and see that the states it leaves reach the centre, by its next start if need be."""
    gateway.end()
    if count(hub, "state") < len(gateway.assets):
        gateway.start()
        until(lambda: count(hub, "state") >= len(gateway.assets), what="the states of the twins")
        gateway.kill()


def backlog(folder):
    """Messages that the hub has not acknowledged."""
    with closing(sqlite3.connect(folder / "data" / "journal.db", timeout=10)) as connection:
        return sum(connection.execute(f"SELECT count(*) FROM {lane.label}").fetchone()[0] for lane in Lane)


def accepted(folder, assets):
    """All observations that the gateway has committed."""
    journal = Journal(folder / "data" / "journal.db", JournalSettings(), SpoolSettings(), SystemClock())
    journal.open()
    try:
        return by_machine((unpack_batch(entry.body) for entry in journal.history("tiny", 0)), assets)
    finally:
        journal.close()


@pytest.mark.parametrize("kills", SHORT_AND_FULL)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_broker_has_arrives_exactly_once_however_often_the_gateway_is_killed(kind, kills, centre, tmp_path):
    """The broker keeps what the gateway has not acknowledged, so nothing that it took may be missing at the centre."""
    random = np.random.default_rng(kills)
    with running(kind, tmp_path / "plant") as broker, Hub(centre.url, tmp_path / "hub") as hub:
        gateway = Gateway(tmp_path, plant=broker, centre=centre)
        try:
            gateway.start()
            until(lambda: "connected to" in (tmp_path / "log").read_text(), what="the gateway's session")
            time.sleep(0.5)
            plant = Plant(broker, gateway.assets, rate=500)
            for _ in range(kills):
                time.sleep(random.uniform(0.2, 1.5))
                gateway.kill()
                gateway.start()
            plant.stop()
            until(lambda: count(hub, "prognosis") >= plant.total, 240, "the last prognosis at the centre")
            until(lambda: not backlog(tmp_path), 240, "the spool running empty")
            finish(hub, gateway)
        finally:
            gateway.kill()
        assert_same(hub, tmp_path, plant.sent)


@pytest.mark.parametrize("kills", SHORT_AND_FULL)
def test_what_was_accepted_arrives_exactly_once_whatever_is_killed(kills, centre, tmp_path):
    """Brokers killed lose what they hold: what the gateway has committed is what counts."""
    random = np.random.default_rng(kills)
    with running("iotcore", tmp_path / "plant") as broker, Hub(centre.url, tmp_path / "hub") as hub:
        gateway = Gateway(tmp_path, plant=broker, centre=centre)
        plant = None
        try:
            gateway.start()
            plant = Plant(broker, gateway.assets, rate=500)
            for turn in range(kills):
                time.sleep(random.uniform(0.2, 1.5))
                if turn % 4 == 0:
                    centre.restart()
                elif turn % 4 == 1:
                    hub.kill()
                    hub.start()
                elif turn % 4 == 2:
                    broker.restart()
                if turn % 4 == 3 or random.random() < 0.5:
                    gateway.kill()
                    gateway.start()
            plant.stop()
            time.sleep(2)  # what the broker still has may reach the gateway
            until(lambda: not backlog(tmp_path), 240, "the spool running empty")
            finish(hub, gateway)
        finally:
            gateway.kill()
        history = accepted(tmp_path, gateway.assets)
        assert sum(map(len, history.values())) > 500
        assert_same(hub, tmp_path, history)
