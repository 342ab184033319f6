"""Machines over HTTP: which there are, how they are, how they were, and who may see and set them."""

import asyncio
import base64
import threading

import numpy as np
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.contract.bodies import to_json
from serving.api import history
from serving.api.keys import create_key
from serving.hub.store import Store
from serving.models.shelf import Shelf
from serving.registry.audit import Act, read_audit
from serving.registry.hierarchy import add_node
from serving.registry.owners import register
from serving.registry.settings import RegistrySettings
from serving.twins.keeping import keep
from tests.edge_runtime.tiny import tiny_bundle
from tests.serving.hub import made
from tests.serving.lived import NANOS, Gateway, load
from tests.serving.service import Client, StoppedClock, seen

ACT = Act("ann", 1)
PLANTS = {"north": ("m1", "m2"), "south": ("m3",)}


@pytest.fixture
def gateway(database, tmp_path):
    """Three machines, ten observations, snapshots after the fourth and the eighth; m4 is the centre's, and nowhere."""
    tiny_bundle(tmp_path / "tiny/bundle")
    with database.write() as connection:
        for plant, names in PLANTS.items():
            for path in (plant, f"{plant}/l1"):
                add_node(connection, ACT, path, title=path.title())
            for name in names:
                register(connection, ACT, name, "tiny", gateway=made.GATEWAY, site="north")
                add_node(connection, ACT, f"{plant}/l1/{name}", asset=name, criticality="A")
        register(connection, ACT, "m4", "tiny")
    store = Store(database, RegistrySettings(), SystemClock(), 1 << 20)
    gateway = Gateway(store, load(tmp_path, "tiny"), ("m1", "m2", "m3"))
    for _ in range(2):
        gateway.observe(4)
        gateway.snapshot()
    gateway.observe(2)
    return gateway


@pytest.fixture
def client(gateway, database, tmp_path):
    client = Client(tmp_path, database, clock=StoppedClock(gateway.t + 10 * NANOS))
    client.gateway = gateway
    return client


def get(client, path, headers=None):
    """The answer has the form that OpenAPI tells."""
    status, answer, _ = client.request("GET", path, headers=headers)
    if status == 200:
        by_method, _ = client.front.find(path.partition("?")[0])
        by_method["GET"].answer.model_validate(answer)
    return status, answer


def code(client, path, headers=None, method="GET", body=b""):
    status, answer, _ = client.request(method, path, body, headers)
    return status, answer.get("error", {}).get("code")


def key(database, *roles, plants=("*",)):
    with database.write() as connection:
        return {"Authorization": f"Bearer {create_key(connection, ACT, 'test', roles, plants)}"}


def test_the_machines_with_their_newest_prognosis(client):
    status, answer = get(client, "/assets")
    assert (status, answer["next"]) == (200, None)
    assert [each["asset"] for each in answer["assets"]] == ["m1", "m2", "m3", "m4"]
    first, last = answer["assets"][0], answer["assets"][-1]
    assert first["place"] == {"path": "north/l1/m1", "kind": "machine", "title": "", "criticality": "A"}
    assert first["owner"] == {"gateway": "gw-7", "term": 0, "online": False, "heard": None}
    assert (first["time_unit"], first["life_unit"], first["cap"]) == ("s", "h", 480)
    latest = first["latest"]
    assert (latest["number"], latest["term"], latest["alarm"]) == (10, 0, 2)
    assert (latest["time"], latest["age"]) == ("2026-01-01T00:10:00Z", 10.0)
    assert (latest["rul"], latest["open"]) == (90.0, [])
    assert latest["model_id"] == client.gateway.bundle.model_id
    assert (last["latest"], last["place"], last["owner"]["online"]) == (None, None, None)


def test_a_life_beyond_the_cap(client):
    """The upper bound is infinite at a machine's first observation: rul / 0."""
    start = (made.START + 60 * NANOS) // NANOS
    rows = get(client, f"/assets/m1/history?start={start}&limit=2")[1]["prognoses"]
    assert rows["rul_upper"][0] is not None or rows["open"]["rul_upper"][0]
    assert rows["open"]["rul_upper"] == [value is None for value in rows["rul_upper"]]


def names(client, query, headers=None):
    status, answer = get(client, f"/assets?{query}", headers)
    assert status == 200, answer
    return [each["asset"] for each in answer["assets"]]


def test_filters(client):
    assert names(client, "under=north") == ["m1", "m2"]
    assert names(client, "under=south/l1") == ["m3"]
    assert names(client, "under=north/l1/m2") == ["m2"]
    assert names(client, "gateway=gw-7") == ["m1", "m2", "m3"]
    assert names(client, "class=tiny&alarm=2") == ["m1", "m2", "m3"]
    assert names(client, "class=other") == names(client, "alarm=3") == []


def test_pages(client):
    first = get(client, "/assets?limit=3")[1]
    assert ([each["asset"] for each in first["assets"]], first["next"]) == (["m1", "m2", "m3"], "m3")
    assert names(client, "limit=3&after=m3") == ["m4"]


BAD = {
    "/assets?limit=0": "form",
    "/assets?limit=many": "form",
    "/assets?colour=red": "form",
    "/assets?limit=1&limit=2": "form",
    "/assets?under=%00": "form",
    "/assets?under=%ff": "malformed",
    "/assets/m1/history?kind=dreams": "form",
    "/assets/m1/history?start=soon": "time",
    "/assets/m1/history?start=5&end=5": "time",
    "/assets/m1/history?after=99999999999999999999_1_1": "form",
    "/assets/m1/state": "form",
    "/assets/m1/state?t=1e300": "time",
    "/alarms?after=x": "form",
}


def test_what_cannot_be_asked(client):
    for path, expected in BAD.items():
        status, answer, _ = client.request("GET", path)
        told = 400 if expected == "malformed" else 422, expected
        assert (path, status, answer["error"]["code"]) == (path, *told)
        assert len(answer["error"]["message"]) > 15


@pytest.mark.usefixtures("gateway")
def test_nothing_of_another_plant(database, tmp_path):
    client = Client(tmp_path, database, insecure=False)
    north = key(database, "read", "command", "acknowledge", plants=("north",))
    assert names(client, "", north) == ["m1", "m2"]
    assert [each["path"] for each in get(client, "/plants", north)[1]["plants"]] == ["north"]
    told = {}
    for name in ("m3", "m4", "m9"):
        asks = [("GET", f"/assets/{name}{part}", b"") for part in ("", "/history", "/state?t=5", "/settings")]
        asks.append(("PUT", f"/assets/{name}/settings", {"values": {}, "reason": "x"}))
        asks.append(("POST", f"/assets/{name}/alarms/a-1/acknowledge", {}))
        asks.append(("GET", f"/alarms?asset={name}", b""))
        told[name] = [client.request(method, path, body, north)[:2] for method, path, body in asks]
        assert {status for status, _ in told[name]} == {404}
        assert {answer["error"]["message"].replace(name, "?") for _, answer in told[name]} == {
            "asset '?' is not known in the plants of your key (north): check its id, or register it"
        }
    for path in ("/assets?under={}", "/plants?plant={}", "/alarms?under={}"):
        there, nowhere = (get(client, path.format(plant), north) for plant in ("south", "westwest"))
        assert there[0] == nowhere[0] == 404
        assert there[1]["error"]["message"].replace("south", "?") == nowhere[1]["error"]["message"].replace(
            "westwest", "?"
        )
    assert names(client, "", key(database, "read", plants=("south",))) == ["m3"]


@pytest.mark.usefixtures("gateway")
def test_a_machine_that_stands_nowhere_is_of_its_gateways_site(database, tmp_path):
    with database.write() as connection:
        register(connection, ACT, "m5", "tiny", gateway="gw-8", site="south")
    client = Client(tmp_path, database, insecure=False)
    assert names(client, "", key(database, "read", plants=("south",))) == ["m3", "m5"]


@pytest.mark.usefixtures("gateway")
def test_roles(database, tmp_path):
    client = Client(tmp_path, database, insecure=False)
    reader = key(database, "read")
    assert get(client, "/assets/m1", reader)[0] == 200
    assert code(client, "/assets/m1/settings", reader, "PUT", {"values": {}, "reason": "x"}) == (403, "role")
    assert code(client, "/assets/m1/alarms/a-1/acknowledge", reader, "POST", {}) == (403, "role")
    assert code(client, "/assets", key(database, "acknowledge")) == (403, "role")
    assert code(client, "/assets") == (401, "no_key")


def test_without_a_database(tmp_path):
    assert code(Client(tmp_path), "/assets") == (503, "not_ready")


def test_one_machine_whole(client):
    status, answer = get(client, "/assets/m1")
    assert status == 200
    assert [(each["term"], each["gateway"], each["by"]) for each in answer["owners"]] == [(0, "gw-7", "ann")]
    settings = answer["settings"]
    assert (settings["version"], settings["values"], settings["at"]) == (0, {}, None)
    assert settings["known"] == [{"name": "offset", "unit": "1", "range": [-10, 10], "default": 0, "value": None}]


def put(client, **body):
    return client.request("PUT", "/assets/m1/settings", {"reason": "trial", **body})[:2]


def test_settings_are_versioned_and_audited(client, database):
    status, answer = put(client, values={"offset": 2.5})
    assert (status, answer["version"], answer["values"], answer["by"]) == (200, 1, {"offset": 2.5}, "insecure")
    assert answer["known"][0]["value"] == 2.5
    assert put(client, values={"offset": 3}, version=1)[1]["version"] == 2
    status, answer = put(client, values={"offset": 4}, version=1)
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "have version 2 by now, not 1" in answer["error"]["message"]
    assert get(client, "/assets/m1/settings")[1]["values"] == {"offset": 3.0}
    assert get(client, "/assets/m1/settings?version=1")[1]["values"] == {"offset": 2.5}
    assert code(client, "/assets/m1/settings?version=9") == (404, "unknown_version")
    with database.read() as connection:
        newest = read_audit(connection, "asset/m1")[0]
    assert (newest.action, newest.actor, newest.detail["reason"]) == ("asset.settings", "insecure", "trial")


def test_settings_are_checked(client):
    for values in ({"ofset": 1}, {"offset": 99}):
        status, answer = put(client, values=values)
        assert (status, answer["error"]["code"]) == (422, "form")
    assert put(client, values={"offset": 1}, reason="")[0] == 422
    client.centre.catalogue.shelf = Shelf()
    status, answer = put(client, values={"offset": 1})
    assert (status, answer["error"]["code"]) == (422, "class")


def test_history_in_columns(client, gateway):
    status, answer = get(client, "/assets/m1/history?kind=observations")
    rows = answer["observations"]
    assert (status, rows["number"], answer["earlier"], answer["next"]) == (200, list(range(1, 11)), False, None)
    assert (rows["time"][0], rows["event"][0]) == ("2026-01-01T00:01:00Z", "none")
    assert set(rows["readings"]) == {"flow", "speed"}
    assert answer["models"] == [gateway.bundle.model_id]
    rows = get(client, "/assets/m1/history")[1]["prognoses"]
    assert rows["rul"] == [100.0 - count for count in range(1, 11)]
    assert rows["alarm"] == [0, 1, 1, 2, 2, 2, 2, 2, 2, 2]


def test_history_in_pages(client):
    def numbers(query):
        answer = get(client, f"/assets/m1/history?{query}")[1]
        return answer["prognoses"]["number"], answer["next"], answer["earlier"]

    assert numbers("limit=3") == ([8, 9, 10], None, True)
    start = "2026-01-01T00:02:00Z"
    found, following, earlier = numbers(f"start={start}&limit=4")
    assert (found, earlier) == ([2, 3, 4, 5], False)
    assert numbers(f"start={start}&limit=9&after={following}") == ([6, 7, 8, 9, 10], None, False)
    assert numbers(f"start={start}&end=2026-01-01T00:04:00Z")[0] == [2, 3]
    assert numbers(f"start={(made.START // NANOS) + 120}&end=2026-01-01T01:04:00%2B01:00")[0] == [2, 3]


def test_history_thinned(client):
    """The highest alarm of each three minutes, of these the newest."""
    answer = get(client, "/assets/m1/history?step=180&start=2026-01-01&limit=2")[1]
    assert (answer["prognoses"]["number"], answer["prognoses"]["alarm"]) == ([2, 5], [1, 2])
    answer = get(client, f"/assets/m1/history?step=180&start=2026-01-01&after={answer['next']}")[1]
    assert answer["prognoses"]["number"] == [8, 10]
    rows = get(client, "/assets/m1/history?step=300&kind=observations")[1]["observations"]
    assert rows["number"] == [4, 9, 10]
    last = f"/assets/m1/history?after={2**63 - 1}_0_1&step=60"
    assert get(client, last)[1]["prognoses"]["time"] == []


def test_summaries(client, gateway):
    sent = made.summaries(("m1",), (10,), asset_class="tiny")
    gateway.send(sent)
    answer = get(client, "/assets/m1/history?kind=summaries")[1]["summaries"]
    assert (answer["count"], answer["number"]) == ([10], [10])
    assert answer["channels"]["speed"] == {"minimum": [1.0], "mean": [2.0], "maximum": [3.0], "received": [7]}


def test_no_history(client):
    answer = get(client, "/assets/m4/history?kind=observations")[1]
    assert (answer["observations"]["time"], answer["models"]) == ([], [])


def test_the_twin_at_a_past_moment(client, gateway):
    t = made.START + 6 * 60 * NANOS
    status, answer = get(client, "/assets/m1/state?t=2026-01-01T00:06:30Z")
    assert (status, answer["time"], answer["number"]) == (200, "2026-01-01T00:06:00Z", 6)
    assert base64.b64decode(answer["state"]) == gateway.lived[t, "m1"][3].tobytes()
    assert (answer["snapshot"], answer["replayed"]) == ({"term": 0, "number": 4}, 2)
    assert answer["check"] == {"term": 0, "number": 8, "difference": 0.0, "tolerance": pytest.approx(1e-5)}
    assert (answer["prognosis"]["rul"], answer["prognosis"]["alarm"]) == (94.0, 2)
    assert [each["name"] for each in answer["slices"]] == ["elapsed", "peak"]
    at_a_snapshot = get(client, f"/assets/m1/state?t={(made.START // NANOS) + 8 * 60}")[1]
    assert (at_a_snapshot["replayed"], at_a_snapshot["prognosis"]["rul"]) == (0, 92.0)
    assert code(client, "/assets/m1/state?t=2020-01-01") == (404, "unknown_moment")


def test_replays_hold_up_nothing_else(client, gateway, monkeypatch):
    real, told = history.state_at, threading.Event()

    def slow(*given):
        assert told.wait(60)
        return real(*given)

    monkeypatch.setattr(history, "state_at", slow)
    path = f"/assets/m1/state?t={gateway.t / NANOS}"

    async def go():
        replays = [asyncio.create_task(client.asked("GET", path)) for _ in range(20)]
        await asyncio.sleep(0)
        async with asyncio.timeout(25):
            others = [(await client.asked("GET", other))[0] for other in ("/assets", "/alarms", "/plants")]
        told.set()
        return others, {status for status, _, _ in await asyncio.gather(*replays)}

    assert asyncio.run(go()) == ([200] * 3, {200})


def test_a_bundle_that_is_gone(client, gateway):
    client.centre.catalogue.shelf = Shelf()
    status, answer = get(client, "/assets/m1/state?t=2026-01-01T00:06:30Z")
    assert (status, answer["error"]["code"]) == (409, "unknown_model")
    assert gateway.bundle.model_id in answer["error"]["message"]
    one = get(client, "/assets/m1")[1]  # times as numbers, for nobody knows their unit
    assert (one["time_unit"], one["latest"]["time"]) == (None, "1767226200")


def test_twins_of_the_centre(client):
    """Continued here, first by three at once, then one by one; no snapshot is stored of them but the newest state."""
    states = []
    for some in ((0, 60, 120), (180,), (240,)):
        body = {"asset": "m4", "continue": True, "observations": seen(*some)}
        client.centre.clock.now = (1_767_434_400 + some[-1]) * NANOS
        assert client.predict(**body)[0] == 200
        states.append(get(client, f"/assets/m4/state?t={1_767_434_400 + some[-1]}")[1])
    assert [each["number"] for each in states] == [3, 4, 5]
    assert [each["replayed"] for each in states] == [0, 0, 0]
    for place, t in ((0, 120), (1, 180)):
        again = get(client, f"/assets/m4/state?t={1_767_434_400 + t}")[1]
        assert (again["replayed"], again["state"]) == (states[place]["number"], states[place]["state"])
        assert np.frombuffer(base64.b64decode(again["state"]), "<f4")[1] == states[place]["number"]


def test_snapshots_of_the_centres_twins(client, database):
    for at in (0, 60, 120):
        client.centre.clock.now = (1_767_434_400 + at) * NANOS
        assert client.predict(asset="m4", observations=seen(at), **{"continue": True})[0] == 200
        if at == 60:
            assert [client.centre.keeper.keep() for _ in range(2)] == [1, 0]
    answer = get(client, f"/assets/m4/state?t={1_767_434_400 + 60}")[1]
    assert (answer["number"], answer["replayed"], answer["snapshot"]) == (2, 0, {"term": 0, "number": 2})
    with database.write() as connection:
        assert (keep(connection, client.centre.clock.now + 1), keep(connection, 0)) == (0, 1)
    client.centre.keeper.start()
    client.centre.keeper.stop()


def raise_alarm(gateway, number, **more):
    gateway.store.commit(gateway.sender.read(made.alarm(number, **more)))


def test_alarms(client, gateway):
    raise_alarm(gateway, 1, level=2, name="a-1")
    raise_alarm(gateway, 2, level=1, asset="m3", name="a-2")
    raise_alarm(gateway, 3, level=0, previous=2, name="a-1", since=1)

    def ids(query=""):
        status, answer = get(client, f"/alarms?{query}")
        assert status == 200, answer
        return [(each["asset"], each["id"]) for each in answer["alarms"]]

    assert ids() == [("m3", "a-2")]
    assert ids("state=past") == [("m1", "a-1")]
    assert ids("state=all") == [("m1", "a-1"), ("m3", "a-2")]
    assert ids("state=all&under=south") == ids("asset=m3") == ids("level=1&class=tiny") == [("m3", "a-2")]
    first = get(client, "/alarms?state=all&limit=1")[1]
    assert ids(f"state=all&limit=1&after={first['next']}") == [("m3", "a-2")]
    (one,) = get(client, "/alarms?asset=m3")[1]["alarms"]
    assert (one["level"], one["waiting"], one["acknowledged"], one["cleared"]) == (1, True, None, None)
    assert one["prognosis"]["rul"] == to_json(made.bodies.Excerpt(rul=12.5))["rul"]
    assert one["contributions"] == [{"channel": "flow", "value": -0.25}]


def acknowledge(client, asset, alarm, comment="", headers=None):
    body = {"comment": comment}
    return client.request("POST", f"/assets/{asset}/alarms/{alarm}/acknowledge", body, headers)[:2]


def test_alarms_are_acknowledged_once(client, gateway, database):
    raise_alarm(gateway, 1, level=1, name="a-1")
    status, answer = acknowledge(client, "m1", "a-1", "bearing ordered")
    said = {"at": "2026-01-01T00:10:10Z", "by": "insecure", "comment": "bearing ordered", "level": 1}
    assert (status, answer["acknowledged"], answer["waiting"]) == (200, said, False)
    client.centre.clock.now += NANOS
    assert acknowledge(client, "m1", "a-1", "again")[1]["acknowledged"] == said
    assert [each["id"] for each in get(client, "/alarms?acknowledged=true")[1]["alarms"]] == ["a-1"]
    assert get(client, "/alarms?acknowledged=false")[1]["alarms"] == []
    with database.read() as connection:
        (entry,) = [each for each in read_audit(connection) if each.action == "alarm.acknowledge"]
    assert (entry.subject, entry.actor) == ("asset/m1", "insecure")
    assert entry.detail == {"alarm": "a-1", "level": 1, "reason": "bearing ordered"}


def test_an_acknowledgement_names_the_key(gateway, database, tmp_path):
    client = Client(tmp_path, database, clock=StoppedClock(gateway.t + 10 * NANOS), insecure=False)
    raise_alarm(gateway, 1, level=1, name="a-1")
    headers = key(database, "read", "acknowledge")
    said = acknowledge(client, "m1", "a-1", headers=headers)[1]["acknowledged"]
    assert said["by"] == f"key/{headers['Authorization'].split('_')[1]} (test)"
    assert get(client, "/alarms", headers)[1]["alarms"][0]["acknowledged"] == said


def test_an_alarm_is_acknowledged_without_a_body(client, gateway):
    raise_alarm(gateway, 1, level=1, name="a-1")
    path = "/assets/{asset}/alarms/{alarm}/acknowledge"
    status, answer, _ = client.request("POST", path.format(asset="m1", alarm="a-1"))
    assert (status, answer["acknowledged"]["comment"]) == (200, "")
    (told,) = client.request("GET", "/openapi.json")[1]["paths"][path].values()
    assert told["requestBody"]["required"] is False


def test_an_alarm_that_rises_asks_again(client, gateway):
    raise_alarm(gateway, 1, level=1, name="a-1")
    acknowledge(client, "m1", "a-1")
    raise_alarm(gateway, 2, level=3, previous=1, name="a-1", since=1)
    (one,) = get(client, "/alarms?acknowledged=false")[1]["alarms"]
    assert (one["waiting"], one["acknowledged"]["level"]) == (True, 1)
    assert acknowledge(client, "m1", "a-1", "now")[1]["acknowledged"]["level"] == 3
    assert get(client, "/alarms?acknowledged=false")[1]["alarms"] == []


def test_alarms_that_are_not_there(client):
    for alarm in ("a-9", "\0", " "):
        assert acknowledge(client, "m1", alarm)[0] == 404


def test_the_plants(client, gateway):
    gateway.observe(1, alarm=3)
    status, answer = get(client, "/plants")
    assert status == 200
    north, south = answer["plants"]
    assert (north["path"], north["assets"], north["silent"], north["alarm"]) == ("north", 2, 0, 3)
    (line,) = north["children"]
    assert [each["asset"] for each in line["children"]] == ["m1", "m2"]
    assert line["children"][0]["condition"] <= 0.25
    assert north["because"].startswith("north/l1/m")
    assert [each["path"] for each in get(client, "/plants?plant=south")[1]["plants"]] == ["south"]
    assert south["title"] == "South"
    client.centre.clock.now += 3600 * NANOS
    silent = get(client, "/plants?plant=south&silent=1800")[1]["plants"][0]
    assert (silent["silent"], silent["condition"]) == (1, None)


def test_a_gateway_that_is_online(client, gateway):
    gateway.store.commit([made.status()])
    client.centre.clock.now = SystemClock().utc()
    assert get(client, "/assets/m1")[1]["owner"]["online"] is True
    client.centre.clock.now += 600 * NANOS
    assert get(client, "/assets/m1")[1]["owner"]["online"] is False
