"""What the hub sends of what is queued, and how answers are followed."""

import json

import pytest
from sqlalchemy import select, update

from edge_runtime.contract.command import verify
from serving.commands.record import follow
from serving.commands.send import CommandSender
from serving.database.tables import command_changes, commands, gateways
from serving.hub.outbox import CLAIMED, Outbox
from serving.registry.audit import Act
from serving.registry.owners import assign
from tests.serving.commands.rig import KEY, SECOND, Service
from tests.serving.hub.test_outbox import Memory


@pytest.fixture
def service(tmp_path, database):
    return Service(tmp_path, database)


def outbox(service, *answers, key=KEY):
    memory = Memory(*answers)
    memory.parcels = []
    post = memory.post

    def keep(parcels, told):
        memory.parcels += parcels
        post(parcels, told)

    memory.post = keep
    box = Outbox(service.database, memory, [CommandSender(service.centre.commands, key)], service.centre.clock)
    return box, memory


def answer(service, command, status, reason=None, value=None, gateway="gw-7", times=1):
    with service.database.write() as connection:
        id_ = connection.execute(select(gateways.c.id).where(gateways.c.name == gateway)).scalar() or 999
        columns = {"id": command, "gateway": id_, "status": status, "reason": reason, "value": value}
        follow(connection, {name: [each] * times for name, each in columns.items()}, service.centre.clock.utc())
    told = service.read(command)
    return told["status"], told["read_back"]


def test_it_is_signed_for_one_gateway_machine_term_and_time(service):
    command = service.made(value=1450.5, ttl=30)
    box, memory = outbox(service, "")
    service.centre.clock.turn(10.5)
    box.look()
    [parcel] = memory.parcels
    now = service.centre.clock.utc()
    signed = verify(KEY.public_key(), parcel.payload, "gw-7", now)
    assert (signed.id, signed.asset, signed.term, signed.channel, signed.value) == (command, "p-1", 0, "speed", 1450.5)
    assert 19 < signed.ttl <= 19.5
    assert 0 < signed.expires - now <= 19.5 * SECOND
    assert parcel.topic == "overhaul/1/north/gw-7/down/command"
    assert (parcel.expiry, parcel.retain) == (19, False)
    box.look()
    told = service.read(command)
    assert told["status"] == "sent"
    assert told["sent_at"]
    box.look()
    assert len(memory.parcels) == 1


def test_until_the_broker_has_it_it_is_sent_again_with_the_same_id(service):
    command = service.made(ttl=60)
    box, memory = outbox(service, "quota exceeded")
    box.look()
    box.look()
    told = service.read(command)
    assert (told["status"], told["detail"]) == ("queued", "not sent yet: quota exceeded")
    service.centre.clock.turn(3)
    box.look()
    service.centre.clock.turn(CLAIMED / SECOND - 1)
    box.look()
    assert len(memory.parcels) == 2, "claimed, and not told of yet"
    service.centre.clock.turn(2)
    box.look()
    assert {json.loads(parcel.payload)["id"] for parcel in memory.parcels} == {command}
    assert len(memory.parcels) == 3
    service.centre.clock.turn(60)
    box.look()
    assert len(memory.parcels) == 3
    service.centre.clock.turn(60)
    box.look()
    assert service.read(command)["status"] == "unknown", "it may have been sent"
    assert service.read(command)["history"][-1]["by"] == "hub"


def test_a_hub_without_the_key_sends_none_and_ends_what_is_late(service):
    command = service.made(ttl=5)
    box, memory = outbox(service, key=None)
    box.look()
    service.centre.clock.turn(6)
    assert service.read(command)["status"] == "expired"
    assert len(service.read(command)["history"]) == 1
    box.look()
    assert not memory.parcels
    assert [each["status"] for each in service.read(command)["history"]] == ["queued", "expired"]
    box.look()
    assert len(service.read(command)["history"]) == 2


def test_what_has_got_another_owner_is_not_sent(service):
    before, begun = service.made(), service.made(asset="p-2")
    box, memory = outbox(service)
    with service.database.write() as connection:
        connection.execute(update(commands).where(commands.c.id == begun).values(claims=1))
        for name in ("p-1", "p-2"):
            assign(connection, Act("test", 1), name, "gw-7")
    box.look()
    assert not memory.parcels
    told = service.read(before)
    assert (told["status"], told["detail"]) == ("cancelled", "the machine has got another owner since")
    assert service.read(begun, asset="p-2")["status"] == "queued"
    service.centre.clock.turn(121)
    box.look()
    assert service.read(begun, asset="p-2")["status"] == "unknown"


def test_of_a_gateway_that_has_said_good_bye_it_waits(service):
    service.made()
    box, memory = outbox(service, "")
    for state in ("offline", "online"):
        with service.database.write() as connection:
            connection.execute(update(gateways).values(state=state))
        box.look()
        assert len(memory.parcels) == (state == "online")


def test_answers_late_repeated_in_any_order_and_from_others(service):
    command, other = service.made(), service.made()
    assert answer(service, command, "done", value=1.0) == ("queued", None), "nobody has been sent it"
    box, _ = outbox(service, "", "")
    box.look()
    box.look()
    assert answer(service, command, "done", value=1.0, gateway="gw-8") == ("sent", None)
    assert answer(service, command, "accepted") == ("sent", None)
    service.centre.clock.turn(300)
    box.look()
    assert service.read(command)["status"] == "unknown"
    assert answer(service, command, "refused", "busy") == ("refused", None)
    assert answer(service, command, "done", value=1450.0, times=3) == ("done", 1450.0)
    for late in ("refused", "unknown", "failed", "accepted", "done"):
        assert answer(service, command, late, "late", 0.0) == ("done", 1450.0)
    box.look()
    history = [each["status"] for each in service.read(command)["history"]]
    assert history == ["queued", "sent", "sent", "unknown", "refused", "done"]
    assert service.read(other)["status"] == "unknown"
    with service.database.write() as connection:
        follow(connection, {name: [] for name in ("id", "gateway", "status", "reason", "value")}, 1)
        assert connection.execute(select(command_changes.c.place)).all()


def test_an_answer_that_is_faster_than_the_broker_stays(service):
    command = service.made()
    box, memory = outbox(service)
    told = []
    memory.post = lambda parcels, tell: told.extend((parcel, tell) for parcel in parcels)
    box.look()
    assert answer(service, command, "done", value=2.0) == ("done", 2.0)
    for parcel, tell in told:
        tell(parcel, None)
    box.look()
    assert service.read(command)["status"] == "done"
    assert service.read(command)["sent_at"]
