"""Several at once: one wins, and nothing is done twice."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.commands.record import follow
from serving.commands.send import CommandSender
from serving.database.tables import commands
from tests.serving.commands.rig import KEY, SECOND, Service


@pytest.fixture
def service(tmp_path, database):
    return Service(tmp_path, database)


def together(service, *requests):
    """(status, answer) of each (who, method, path, body, headers)."""

    async def go():
        calls = [
            service.asked(method, path, body, {"x-api-key": service.keys[who], **headers})
            for who, method, path, body, headers in requests
        ]
        return [answer[:2] for answer in await asyncio.gather(*calls)]

    return asyncio.run(go())


def test_one_key_makes_one_command(service):
    body = {"channel": "speed", "value": 1450.0, "reason": "less load at night"}
    one = "ann", "POST", "/assets/p-1/commands", body, {"idempotency-key": "k-1"}
    answers = together(service, *[one] * 8)
    assert {status for status, _ in answers} == {200}
    assert len({answer["id"] for _, answer in answers}) == 1
    assert len(service.listed()["commands"]) == 1


def test_the_limit_holds(service):
    service.set(per_minute=3)
    body = {"channel": "speed", "value": 1450.0, "reason": "less load at night"}
    answers = together(service, *[("ann", "POST", "/assets/p-1/commands", body, {})] * 8)
    assert sorted(status for status, _ in answers) == [200] * 3 + [429] * 5


def test_approved_or_taken_back(service):
    service.set(approvals=1)
    made = [service.made() for _ in range(6)]
    path = "/assets/p-1/commands/{}/{}"
    requests = [("bob", "POST", path.format(each, "approve"), b"", {}) for each in made]
    requests += [("ann", "POST", path.format(each, "cancel"), {"reason": "not needed"}, {}) for each in made]
    answers = together(service, *requests)
    assert {status for status, _ in answers[6:]} == {200}, "before or after the approval"
    for command, (status, _) in zip(made, answers, strict=False):
        told = service.read(command)
        assert told["status"] == "cancelled"
        assert [each["status"] for each in told["history"]][1:-1] == ["queued"] * (status == 200)


def test_each_command_is_claimed_by_one_of_several_hubs_while_answers_come(service):
    made = [service.made() for _ in range(20)]
    now = service.centre.clock.utc()

    def claim(_):
        sender, found = CommandSender(service.centre.commands, KEY), []
        for _ in range(5):
            with service.database.write() as connection:
                found += sender.claim(connection, now, now + 60 * SECOND)
        return [json.loads(parcel.payload)["id"] for parcel in found]

    def answer(id_):
        columns = {"id": [id_], "gateway": [1], "status": ["done"], "reason": [None], "value": [1.0]}
        with service.database.write() as connection:
            follow(connection, columns, now)

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(answer, each) for each in made]
        claimed = [each for found in threads.map(claim, range(4)) for each in found]
        for each in answers:
            each.result()
    assert sorted(claimed) == sorted(made)
    with service.database.read() as connection:
        rows = connection.execute(commands.select()).all()
    assert all(row.claims == 1 for row in rows)
