"""Who may ask for what, of which machine; approval, taking back, and what is told of it."""

import pytest

from serving.registry.audit import Act, read_audit
from serving.registry.hierarchy import change_node
from serving.registry.owners import assign
from tests.serving.commands.rig import Service


@pytest.fixture
def service(tmp_path, database):
    return Service(tmp_path, database)


def code(answer):
    status, body = answer
    return status, body["error"]["code"]


def test_a_command_is_queued_with_all_that_is_known_of_it(service):
    status, told = service.make(ttl=30)
    assert status == 200
    assert told == service.read(told["id"])
    wanted = {
        "asset": "p-1",
        "gateway": "gw-7",
        "term": 0,
        "channel": "speed",
        "value": 1450.0,
        "unit": "rpm",
        "reason": "less load at night",
        "status": "queued",
        "approvals": 0,
        "ttl": 30.0,
        "sent_at": None,
        "read_back": None,
    }
    assert {name: told[name] for name in wanted} == wanted
    assert told["by"].startswith("key/")
    assert [(each["status"], each["by"]) for each in told["history"]] == [("queued", told["by"])]
    with service.database.read() as connection:
        [entry] = [each for each in read_audit(connection, "asset/p-1") if each.action.startswith("command")]
    assert entry.actor.startswith(told["by"])
    assert entry.detail["reason"] == "less load at night"
    assert entry.detail["value"] == 1450.0


@pytest.mark.parametrize(
    ("body", "expected", "where"),
    [
        ({"channel": "sped"}, (422, "unknown_channel"), "channel"),
        ({"channel": "offset"}, (422, "unknown_channel"), "channel"),
        ({"value": 3001.0}, (422, "range"), "value"),
        ({"value": -0.1}, (422, "range"), "value"),
        ({"unit": "1/s"}, (422, "unit"), "unit"),
        ({"term": 1}, (409, "term"), "term"),
        ({"asset": "p-0"}, (409, "owner"), ""),
        ({"asset": "p-9"}, (404, "unknown_asset"), "asset"),
        ({"asset": "%00"}, (404, "unknown_asset"), "asset"),
        ({"reason": ""}, (422, "form"), "reason"),
        ({"reason": "   "}, (422, "form"), "reason"),
        ({"reason": "x"}, (422, "form"), "reason"),
        ({"reason": "a\0b"}, (422, "form"), "reason"),
        ({"value": "1450"}, (422, "form"), "value"),
        ({"ttl": 0.5}, (422, "form"), "ttl"),
        ({"ttl": 3601}, (422, "form"), "ttl"),
        ({"sudo": True}, (422, "form"), "sudo"),
        ({"who": "reader"}, (403, "role"), ""),
        ({"who": "eve"}, (404, "unknown_asset"), "asset"),
        ({"key": "ä"}, (422, "form"), "Idempotency-Key"),
    ],
)
def test_refusals(service, body, expected, where):
    if body.get("key") == "ä":
        body = {"key": "with blank"}
    status, told = service.make(**body)
    assert ((status, told["error"]["code"]), told["error"]["where"]) == (expected, where), told
    if expected[1] == "unknown_channel":
        assert "flow, speed" in told["error"]["message"]
    assert service.as_("ann", "GET", "/assets/p-1/commands") == (200, {"commands": []})


def test_a_page_of_open_commands_is_full_of_open_ones(service):
    """Also while no hub ends those that are out of time."""
    still = service.made(ttl=3600)
    service.centre.clock.turn(1)
    service.made(ttl=1)
    service.centre.clock.turn(2)
    assert [each["id"] for each in service.listed("open=true&limit=1")["commands"]] == [still]


def test_what_is_wrong_is_told(service):
    said = [
        service.make(**body)[1]["error"]["message"] for body in ({"reason": "x"}, {"reason": "  "}, {"unit": "1/min"})
    ]
    assert said[0] == "reason: 'x' is too short: write 3 characters or more"
    assert said[1].startswith("reason: '  '")
    assert said[2].endswith("if '1/min' is only another spelling, write 'rpm'; else convert the readings")


def test_off_unless_enabled(service):
    service.set(enabled=False)
    assert code(service.make()) == (409, "commands_off")
    assert service.as_("ann", "GET", "/assets/p-1/commands") == (200, {"commands": []})


def test_the_same_key_makes_one_command(service):
    first = service.make(key="k-1")
    assert service.make(key="k-1") == first
    assert code(service.make(key="k-1", value=1400.0)) == (422, "key_reused")
    assert code(service.make(key="k-1", asset="p-2")) == (422, "key_reused")
    assert service.make("bob", key="k-1")[1]["id"] != first[1]["id"], "keys are each caller's own"
    assert len(service.as_("ann", "GET", "/assets/p-1/commands")[1]["commands"]) == 2


def test_a_connection_that_breaks_at_the_end_leaves_it_open(service, monkeypatch):
    """The server may have committed: nobody can say that nothing was stored."""
    dialect = service.database.engine.dialect
    if dialect.name == "sqlite":
        pytest.skip("SQLite has no connection that could break: a commit fails or does not")
    real = dialect.do_commit

    def commit(connection):
        real(connection)
        connection.driver_connection.close()
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    service.listed()  # its key is known from now on
    with monkeypatch.context() as broken:
        broken.setattr(dialect, "do_commit", commit)
        assert code(service.make(key="k-1")) == (504, "late")
    [made] = service.listed()["commands"]
    assert service.made(key="k-1") == made["id"]


def test_a_key_is_forgotten_in_time(service):
    service.made(key="k-1")
    service.centre.clock.turn(service.centre.settings.idempotency + 1)
    assert service.make(key="k-1", value=1000.0)[0] == 200
    assert code(service.make(key="k-1", value=1200.0)) == (422, "key_reused")


def test_not_too_often(service):
    service.set(per_minute=2)
    assert [service.make()[0] for _ in range(3)] == [200, 200, 429]
    assert service.make(channel="flow", value=1.0)[0] == 200, "of each channel"
    assert service.make(asset="p-2")[0] == 200, "of each machine"
    service.centre.clock.turn(61)
    assert service.make()[0] == 200


def test_another_person_approves(service):
    service.set(approvals=1, ttl=30.0)
    command = service.made()
    assert service.read(command)["status"] == "waiting_for_approval"
    assert code(service.approve(command, "ann")) == (403, "approver")
    assert code(service.approve(command, "reader")) == (403, "role")
    assert code(service.approve(command, "eve")) == (404, "unknown_asset")
    assert code(service.approve("c-0")) == (404, "unknown_command")
    assert code(service.approve(command, asset="p-2")) == (404, "unknown_command")
    service.centre.clock.turn(100)
    status, told = service.approve(command)
    assert (status, told["status"]) == (200, "queued")
    assert told["approved_by"] == f"key/{service.keys['bob'].split('_')[1]}"
    assert [each["status"] for each in told["history"]] == ["waiting_for_approval", "queued"]
    assert service.approve(command) == (200, told), "the same again"
    service.centre.clock.turn(29)
    assert service.read(command)["status"] == "queued", "its time begins with the approval"
    service.centre.clock.turn(2)
    assert service.read(command)["status"] == "expired"


def test_critical_machines_need_an_approval(service):
    with service.database.write() as connection:
        change_node(connection, Act("test", 1), "north/l1/p-1", criticality="A")
    assert service.make()[1]["status"] == "waiting_for_approval"
    assert service.make(asset="p-2")[1]["status"] == "queued"
    service.set(approve_critical=False)
    assert service.make()[1]["status"] == "queued"


def test_an_approval_comes_too_late(service):
    service.set(approvals=1, approve_within=60.0)
    expired, moved, cancelled = service.made(), service.made(asset="p-2"), service.made()
    assert service.cancel(cancelled)[1]["status"] == "cancelled"
    assert code(service.approve(cancelled)) == (409, "conflict")
    with service.database.write() as connection:
        assign(connection, Act("test", 1), "p-2", None)
    assert code(service.approve(moved, asset="p-2")) == (409, "conflict")
    service.centre.clock.turn(61)
    assert code(service.approve(expired)) == (409, "conflict")
    told = service.read(expired)
    assert (told["status"], told["detail"]) == ("expired", "nobody has approved it in time")


def test_what_is_queued_can_be_taken_back(service):
    command = service.made()
    status, told = service.cancel(command, "bob")
    assert (status, told["status"], told["detail"]) == (200, "cancelled", "not needed")
    assert service.cancel(command, "bob") == (200, told)
    assert code(service.cancel(command, "reader")) == (403, "role")
    late = service.made()
    service.centre.clock.turn(61)
    assert code(service.cancel(late)) == (409, "conflict")


def test_a_list_newest_first_in_pages(service):
    made = []
    for _ in range(5):
        made.append(service.made())
        service.centre.clock.turn(0.001)
    service.made(asset="p-2")
    service.cancel(made[2])

    def listed(query="", who="ann"):
        return [each["id"] for each in service.listed(query, who)["commands"]]

    assert listed() == made[::-1]
    assert listed("limit=2") == made[:2:-1]
    assert listed(f"limit=2&before={made[3]}") == [made[2], made[1]]
    assert listed("open=true") == [made[4], made[3], made[1], made[0]]
    assert listed(who="reader") == made[::-1]
    for query in ("limit=0", "limit=x", "sort=at"):
        assert service.listed(query)["error"]["code"] == "form"
    for query in ("before=c-0", "before=%00", f"before={'x' * 100}"):
        assert service.listed(query)["error"]["code"] == "unknown_command"
    assert service.listed("", "eve")["error"]["code"] == "unknown_asset"
    assert code(service.as_("ann", "GET", "/assets/p-1/commands/%00")) == (404, "unknown_command")
