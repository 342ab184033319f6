"""Stored twins: continued by compare-and-set, previewed when a gateway owns them, taken over by the next bundle."""

import asyncio
import threading

import numpy as np
import pytest
from sqlalchemy import func, select, text, update

from edge_runtime.contract.rows import Keys, States
from serving.database import bulk, rows
from serving.database.queries import find_asset, read_latest, read_observations, read_prognoses
from serving.database.tables import idempotency, models, observations, prognoses, states, twins
from serving.errors import AwayError
from serving.registry.asset_settings import set_settings
from serving.registry.audit import Act
from serving.registry.owners import assign, gateway_id, register, set_tier
from serving.twins import record
from serving.twins.continuing import Continuing
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract
from tests.serving.service import NANOS, T0, Client, seen

ACT = Act("ann", 1)


@pytest.fixture
def client(database, tmp_path):
    with database.write() as connection:
        for name in ("p1", "p2", "p3"):
            register(connection, ACT, name, "tiny")
        gateway_id(connection, "gw-1", "north", 1)
    return Client(tmp_path / "bundles", database)


def go_on(client, *seconds, asset="p1", headers=None, **more):
    return client.predict(headers, **{"asset": asset, "continue": True, "observations": seen(*seconds), **more})


def count(database, table):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def stored(database, name="p1"):
    with database.read() as connection:
        asset = find_asset(connection, name)
        query = select(twins, twins.c["t"].label("time")).where(twins.c.asset == asset.id)
        return connection.execute(query).first()


def test_newest_observations_continue_where_the_twin_was(client, database):
    assert go_on(client, 0)[1]["prognoses"][0]["number"] == 1
    status, answer = go_on(client, 60, 120)
    assert (status, answer["stored"], answer["notes"]) == (200, True, [])
    told = answer["prognoses"][0]
    _, whole = client.predict(observations=seen(0, 60, 120), asset="p1")
    assert told | {"term": None} == whole["prognoses"][0]  # the same bits as in one go
    assert told["term"] == 0
    row = stored(database)
    assert (row.number, row.time, row.term) == (3, (T0 + 120) * NANOS, 0)
    assert np.frombuffer(row.state, "<f4").tolist() == [120, 3, 0]


def test_what_is_stored_is_what_was_seen_and_said(client, database):
    go_on(client, 0, 60)
    _, answer = go_on(client, 120)
    with database.read() as connection:
        asset = find_asset(connection, "p1").id
        (observed,) = read_observations(connection, asset)
        (foretold,) = read_prognoses(connection, asset)
        newest = read_latest(connection, [asset])[asset]
    assert observed.keys.number.tolist() == foretold.keys.number.tolist() == [1, 2, 3]
    assert observed.readings.tolist() == [[100, 1500]] * 3
    assert foretold.outputs["rul"].tolist() == [99, 98, 97]
    assert foretold.outputs["rul_upper"][0] == np.inf
    assert newest.keys.number.tolist() == [3]
    assert newest.outputs["health"][0] == np.float32(answer["prognoses"][0]["health"])
    assert foretold.model_id == answer["model"]["model_id"]


def test_many_machines_at_once(client, database):
    columns = {"asset": ["p2", "p1", "p2"], "time": [T0, T0, T0 + 60], "readings": {"flow": [1, 2, 3]}}
    status, answer = client.predict(columns=columns, **{"continue": True})
    assert (status, answer["stored"]) == (200, True)
    assert (answer["columns"]["asset"], answer["columns"]["number"]) == (["p1", "p2"], [1, 2])
    assert (stored(database, "p1").number, stored(database, "p2").number) == (1, 2)
    assert count(database, observations) == count(database, prognoses) == 3


def test_all_or_nothing(client, database):
    go_on(client, 60, asset="p2")
    columns = {"asset": ["p1", "p2"], "time": [T0, T0], "readings": {"flow": [1, 2]}}
    status, answer = client.predict(columns=columns, **{"continue": True})
    assert (status, answer["error"]["code"]) == (409, "not_newer")
    assert stored(database, "p1") is None


def test_at_once_for_one_twin_one_after_the_other(client, database):
    bodies = [{"asset": "p1", "continue": True, "observations": seen(60 * n)} for n in range(5)]
    answers = client.together(*bodies)
    assert [status for status, _ in answers] == [200] * 5
    assert [answer["prognoses"][0]["number"] for _, answer in answers] == [1, 2, 3, 4, 5]
    assert stored(database).number == 5


def test_after_is_compared(client):
    go_on(client, 0)
    assert go_on(client, 60, after=1)[0] == 200
    status, answer = go_on(client, 120, after=1)
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "is at observation 2, not 1" in answer["error"]["message"]


@pytest.mark.parametrize("first", [True, False])
def test_two_workers_race_for_one_twin(client, database, tmp_path, monkeypatch, first):
    """The other one commits between our reading and our writing."""
    other = Client(tmp_path / "bundles", database)
    if not first:
        go_on(client, 0)
    real = record.Recorder.commit
    raced = []

    def commit(self, outcomes, at):
        if not raced:
            raced.append(1)
            raced.append(go_on(other, 60))
        return real(self, outcomes, at)

    monkeypatch.setattr(record.Recorder, "commit", commit)
    status, answer = go_on(client, 120)
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "another request has just continued" in answer["error"]["message"]
    assert raced[1][0] == 200
    assert stored(database).time == (T0 + 60) * NANOS
    assert count(database, observations) == (1 if first else 2)
    assert go_on(client, 120)[0] == 200


def test_a_race_during_a_change_of_bundle(client, database, tmp_path, monkeypatch):
    go_on(client, 0)
    tiny_bundle(tmp_path / "new/tiny/bundle", title="another")
    other = Client(tmp_path / "new", database)
    real = record.Recorder.commit
    raced = []

    def commit(self, outcomes, at):
        if not raced:
            raced.append(1)
            raced.append(go_on(other, 60))
        return real(self, outcomes, at)

    monkeypatch.setattr(record.Recorder, "commit", commit)
    assert go_on(client, 60)[0] == 409
    assert raced[1][0] == 200
    assert stored(database).number == 2


def test_losing_the_twin_to_a_gateway_meanwhile(client, database, monkeypatch):
    real = record.Recorder.commit

    def commit(self, outcomes, at):
        with database.write() as connection:
            assign(connection, ACT, "p1", "gw-1")
        return real(self, outcomes, at)

    monkeypatch.setattr(record.Recorder, "commit", commit)
    status, answer = go_on(client, 0)
    assert (status, answer["error"]["code"]) == (409, "owner")
    assert count(database, observations) == 0


def test_the_same_idempotency_key_again(client, database):
    key = {"Idempotency-Key": "k-1"}
    first = go_on(client, 0, headers=key)
    assert go_on(client, 0, headers=key) == first
    assert stored(database).number == 1
    status, answer = go_on(client, 60, headers=key)
    assert (status, answer["error"]["code"]) == (422, "key_reused")
    assert count(database, idempotency) == 1


def test_what_is_counted_as_stored_is_stored(client, database):
    key = {"Idempotency-Key": "k-6"}
    assert go_on(client, 0, 60, headers=key) == go_on(client, 0, 60, headers=key)
    go_on(client, 120, store=False)
    go_on(client, 60)  # refused: not newer
    client.predict(observations=seen(0))
    told = client.request("GET", "/metrics")[1].decode()
    assert 'overhaul_observations_total{fleet="tiny",stored="True"} 2.0' in told
    assert 'overhaul_observations_total{fleet="tiny",stored="False"} 2.0' in told
    assert count(database, observations) == 2


def test_the_same_idempotency_key_at_once(client, database):
    body = {"asset": "p1", "continue": True, "observations": seen(0)}
    answers = client.together(body, body, body, headers={"Idempotency-Key": "k-2"})
    assert [status for status, _ in answers] == [200] * 3
    assert answers[0] == answers[1] == answers[2]
    assert count(database, observations) == 1


def test_one_idempotency_key_for_two_requests_at_once(client, database):
    bodies = [{"asset": name, "continue": True, "observations": seen(0)} for name in ("p1", "p2", "p3")]
    answers = client.together(*bodies, headers={"Idempotency-Key": "k-4"})
    assert [status for status, _ in answers] == [200, 422, 422]
    assert answers[1][1]["error"]["code"] == "key_reused"
    assert count(database, observations) == 1


def test_one_idempotency_key_for_two_requests_at_two_workers(client, database, tmp_path, monkeypatch):
    other = Client(tmp_path / "bundles", database)
    key = {"Idempotency-Key": "k-5"}
    real = record.bulk.insert
    raced = []

    def insert(connection, table, columns):
        if table is idempotency and not raced:  # the other is done after this one has looked for the key
            raced.append(1)
            columns = {name: list(values) for name, values in columns.items()}
            real(connection, table, {**columns, "request": ["another"]})
        return real(connection, table, columns)

    monkeypatch.setattr(record.bulk, "insert", insert)
    assert go_on(client, 0, headers=key)[0] == 409
    assert count(database, observations) == 0
    assert go_on(other, 0, headers=key)[0] == 200


def test_the_same_idempotency_key_at_two_workers(client, database, tmp_path, monkeypatch):
    other = Client(tmp_path / "bundles", database)
    key = {"Idempotency-Key": "k-3"}
    real = record.Recorder.commit
    raced = []

    def commit(self, outcomes, at):
        if not raced:
            raced.append(1)
            raced.append(go_on(other, 0, headers=key))
        return real(self, outcomes, at)

    monkeypatch.setattr(record.Recorder, "commit", commit)
    assert go_on(client, 0, headers=key) == raced[1]
    assert stored(database).number == 1


def test_a_gateways_twin_is_previewed_and_nothing_is_stored(client, database):
    go_on(client, 0, 60)
    with database.write() as connection:
        assign(connection, ACT, "p1", "gw-1")
    before = count(database, observations)
    status, answer = go_on(client, 120)
    assert (status, answer["stored"]) == (200, False)
    assert answer["notes"] == ["a preview: nothing was stored, for gateway 'gw-1' owns the twin"]
    assert answer["prognoses"][0]["number"] == 3
    assert answer["prognoses"][0]["rul"] == 97
    assert count(database, observations) == before
    assert stored(database).number == 2
    status, answer = go_on(client, 120, store=True)
    assert (status, answer["error"]["code"]) == (409, "owner")
    assert "owned by gateway 'gw-1', which alone may continue it" in answer["error"]["message"]


def snapshot(database, client, number, state, term):
    """As a gateway sends it."""
    with database.write() as connection:
        asset = find_asset(connection, "p1").id
        model_id = client.centre.catalogue.shelf.find("tiny").model_id
        bulk.insert(connection, models, {"model_id": [model_id], "at": [1]})
        model = connection.execute(select(models.c.id).where(models.c.model_id == model_id)).scalar_one()
        t = (T0 + 60 * number) * NANOS
        keys = Keys(("p1",), np.zeros(1, np.int32), *(np.array([v]) for v in (term, number, t)))
        columns = {"asset": [asset], "t": [t], "term": [term], "number": [number], "t_rx": [t], "model": [model]}
        body = rows.state_columns(States("tiny", keys, np.array([state], np.float32)))
        bulk.insert(connection, states, {**columns, **body})


def test_a_preview_starts_from_the_gateways_snapshot(client, database):
    with database.write() as connection:
        assign(connection, ACT, "p1", "gw-1")
    snapshot(database, client, 40, [2400, 40, 3], term=1)
    _, answer = go_on(client, 60 * 41)
    told = answer["prognoses"][0]
    assert (told["number"], told["rul"], told["rul_lower"]) == (41, 59, 56)
    assert count(database, observations) == 0


def test_back_at_the_centre_a_twin_goes_on_from_the_gateways_snapshot(client, database):
    with database.write() as connection:
        assign(connection, ACT, "p1", "gw-1")
        snapshot_term = find_asset(connection, "p1").term
    snapshot(database, client, 40, [2400, 40, 3], term=snapshot_term)
    with database.write() as connection:
        assign(connection, ACT, "p1", None)
    _, answer = go_on(client, 60 * 41)
    assert answer["stored"]
    assert (answer["prognoses"][0]["number"], answer["prognoses"][0]["term"]) == (41, 2)
    assert go_on(client, 60 * 42)[1]["prognoses"][0]["rul"] == 58


def test_a_preview_that_takes_long_holds_up_nobody_who_stores(client, monkeypatch):
    real, stored_one = Continuing._round, threading.Event()

    def slow(self, jobs):
        if jobs[0].store is False:
            assert stored_one.wait(60)
        return real(self, jobs)

    monkeypatch.setattr(Continuing, "_round", slow)
    body = {"fleet": "tiny", "asset": "p1", "continue": True, "observations": seen(0)}

    async def go():
        preview = asyncio.create_task(client.asked("POST", "/predict", {**body, "store": False}))
        async with asyncio.timeout(30):
            kept = await client.asked("POST", "/predict", {**body, "asset": "p2"})
        stored_one.set()
        return kept[1]["stored"], (await preview)[1]["stored"]

    assert asyncio.run(go()) == (True, False)


def test_a_preview_on_request(client, database):
    go_on(client, 0)
    _, answer = go_on(client, 60, store=False)
    assert answer["stored"] is False
    assert answer["prognoses"][0]["number"] == 2
    assert stored(database).number == 1


REFUSED = {
    "no such asset": ({"asset": "p9"}, 404, "unknown_asset", "asset 'p9' is not known"),
    "an older term": ({"asset": "p2", "term": 0}, 409, "term", "term 0 is older: asset 'p2' has term 1"),
    "another class": ({"asset": "x1"}, 422, "class", "asset 'x1' is of class 'crane', not 'tiny'"),
    "basic monitoring": ({"asset": "p3"}, 409, "tier", "make its tier full"),
    "not newer": ({}, 409, "not_newer", "10:00:00Z is not after .* (number 1)"),
    "no asset": ({"asset": None}, 422, "form", "name its asset"),
    "a version": ({"version": "1"}, 422, "form", "leave version out"),
    "settings": ({"settings": {"offset": 1}}, 422, "form", "change them there"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_continued(client, database, name):
    with database.write() as connection:
        register(connection, ACT, "x1", "crane")
        assign(connection, ACT, "p2", "gw-1")
        set_tier(connection, ACT, "p3", "basic")
    go_on(client, 0)
    changes, status, code, message = REFUSED[name]
    got, answer = go_on(client, 0, **changes)
    assert (got, answer["error"]["code"]) == (status, code)
    assert message.split(".*")[0] in answer["error"]["message"]


def test_settings_come_from_the_registry(client, database):
    with database.write() as connection:
        set_settings(connection, ACT, "p1", {"offset": 2.0})
    _, answer = go_on(client, 0)
    assert answer["prognoses"][0]["contributions"][0] == {"channel": "speed", "value": 1498.0}


def test_the_next_bundle_takes_over_what_is_the_same(client, tmp_path):
    go_on(client, 0, 60, 120)
    contract = tiny_contract()
    contract["state"]["slices"][1]["fingerprint"] = "p2"  # the peak is made otherwise now
    tiny_bundle(tmp_path / "bundles/tiny/bundle", state=contract["state"])
    client.centre.catalogue.refresh()
    status, answer = go_on(client, 180)
    assert status == 200
    (note,) = answer["notes"]
    assert "1 machines take over 67% of their state; peak start anew, warmed up by 3 observations" in note
    told = answer["prognoses"][0]
    assert (told["number"], told["rul"]) == (4, 96)
    assert go_on(client, 240)[1]["notes"] == []


def test_the_next_bundle_after_the_old_one_is_gone_everywhere(client, database, tmp_path):
    """The contract of each bundle that has stored a state is kept in the database."""
    go_on(client, 0, 60)
    tiny_bundle(tmp_path / "new/tiny/bundle", title="another")
    other = Client(tmp_path / "new", database)
    _, answer = go_on(other, 120)
    assert "take over 100% of their state" in answer["notes"][0]
    assert answer["prognoses"][0]["rul"] == 97


def test_a_model_nobody_knows_starts_anew_and_numbers_go_on(client, database):
    go_on(client, 0, 60)
    with database.write() as connection:
        connection.execute(text("DELETE FROM contracts"))
        connection.execute(update(models).values(model_id="forgotten"))
    client.centre.stored._work.__self__._recorder = record.Recorder(database, 1000)
    _, answer = go_on(client, 120)
    assert "which is not known here: it starts anew" in answer["notes"][0]
    assert (answer["prognoses"][0]["number"], answer["prognoses"][0]["rul"]) == (3, 99)


def test_the_database_is_away(client, database, monkeypatch):
    def away():
        raise AwayError("gone")

    monkeypatch.setattr(database, "read", away)
    status, answer, headers = client.request(
        "POST", "/predict", {"fleet": "tiny", "asset": "p1", "continue": True, "observations": seen(0)}
    )
    assert (status, answer["error"]["code"], headers["retry-after"]) == (503, "away", "2")
    assert client.predict(observations=seen(0))[0] == 200


def test_a_waveform_leaves_its_features(client, database):
    wave = seen(0, waveforms={"shake": [[1, 7, 3, 0]]})
    go_on(client, observations=wave)
    with database.read() as connection:
        (body,) = connection.execute(text("SELECT body FROM waveform_features")).scalars()
    assert np.frombuffer(body, "<f4").tolist() == [7]
