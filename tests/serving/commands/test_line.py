"""From a person to a register and back, at most once, whatever stands in between."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import update

from serving.commands.refusals import explained
from serving.database.tables import commands
from serving.registry.audit import read_audit
from tests.edge_runtime.broker import iotcore, until  # noqa: F401
from tests.serving.commands.line import COMMANDS, Line
from tests.serving.commands.rig import PRIVATE
from tests.serving.hub.process import HubProcess

ROOT = Path(__file__).parents[3]
SQLITE = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)


@pytest.fixture
def line(tmp_path, database, iotcore):  # noqa: F811
    with Line(tmp_path, database, iotcore) as made:
        made.start_hub()
        made.start_gateway()
        yield made


def test_a_set_point_arrives_is_read_back_and_told_of(line):
    service = line.service
    told = line.ended(service.made(value=1450.5, ttl=60))
    assert (told["status"], told["read_back"], told["detail"]) == ("done", 1450.5, "")
    assert line.gateway.sources[0].read("p-1", "speed") == 1450.5
    assert len(line.device.writes) == 1
    until(lambda: service.read(told["id"])["sent_at"], what="that the broker had it")
    history = [each["status"] for each in service.read(told["id"])["history"]]
    assert history[0] == "queued"
    assert history[-1] == "done"
    with line.database.read() as connection:
        entries = [(each.action, each.actor) for each in read_audit(connection, "asset/p-1")]
    assert entries[0] == ("command.done", "gateway/gw-7")
    assert entries[1][0] == "command.make"

    told = line.ended(service.made(value=1501.0))
    assert (told["status"], told["detail"]) == ("refused", explained("out_of_range"))
    line.stop_file.touch()
    told = line.ended(service.made(value=1400.0))
    assert (told["status"], told["detail"]) == ("refused", explained("stopped"))
    line.stop_file.unlink()
    told = line.ended(service.made(value=140.0, channel="flow"))
    assert (told["status"], told["detail"]) == ("refused", explained("not_allowed"))
    assert len(line.device.writes) == 1


@SQLITE
def test_nothing_is_sent_before_the_second_person_agrees(line):
    service = line.service
    service.set(approvals=1)
    command, other = service.made(), service.made()
    assert service.approve(command, "ann")[0] == 403
    time.sleep(0.6)  # three rounds of the outbox
    assert [service.read(each)["status"] for each in (command, other)] == ["waiting_for_approval"] * 2
    assert line.gateway.commands.counts == {}
    assert service.approve(command)[0] == 200
    assert line.ended(command)["status"] == "done"
    assert len(line.device.writes) == 1
    assert service.approve(command)[0] == 200, "the same again"
    assert service.cancel(command)[0] == 409
    assert service.cancel(other)[1]["status"] == "cancelled"
    assert len(line.device.writes) == 1


@SQLITE
def test_a_gateway_whose_commands_are_off_refuses_and_says_why(tmp_path, database, iotcore):  # noqa: F811
    with Line(tmp_path, database, iotcore, commands=COMMANDS.replace("enabled = true", "enabled = false")) as line:
        line.start_hub()
        line.start_gateway()
        told = line.ended(line.service.made())
        assert (told["status"], told["detail"]) == ("refused", explained("off"))
        assert not line.device.writes


@SQLITE
def test_a_gateway_that_is_away_gets_it_when_it_is_back_unless_it_has_expired(line):
    line.stop_gateway()
    expired, kept = line.service.made(ttl=1), line.service.made(ttl=120, value=1300.0)
    told = line.ended(expired)
    assert told["status"] == "expired"
    assert "no hub has sent it in time" in told["detail"]
    until(lambda: len(line.service.read(expired)["history"]) == 2, what="that it is on record")
    line.start_gateway()
    assert line.ended(kept)["read_back"] == 1300
    assert line.service.read(expired)["status"] == "expired"
    assert len(line.device.writes) == 1


@SQLITE
def test_signed_with_another_key_nothing_is_written_and_nobody_answers(tmp_path, database, iotcore):  # noqa: F811
    with Line(tmp_path, database, iotcore, patience=0.0) as line:
        line.start_hub(key=Ed25519PrivateKey.generate())
        line.start_gateway()
        command = line.service.made()
        until(lambda: line.gateway.commands.counts == {"refused_signature": 1}, what="the refusal")
        until(lambda: line.service.read(command)["status"] == "sent", what="sending")
        with database.write() as connection:
            connection.execute(update(commands).values(expires=time.time_ns()))
        told = line.ended(command)
        assert told["status"] == "unknown"
        assert "has not answered" in told["detail"]
        assert not line.device.writes


_HUB = """
import os, signal, sys, time
from edge_runtime.clock import SystemClock
from serving.commands.keys import load_key
from serving.commands.send import CommandSender
from serving.commands.settings import CommandSettings
from serving.database.engine import Database
from serving.database.settings import DatabaseSettings
from serving.hub import outbox
from serving.hub.connection import HubConnection
from serving.hub.hub import Hub
from serving.hub.settings import BrokerSettings, HubSettings
from serving.registry.settings import RegistrySettings
from pathlib import Path

when, database, broker, key = sys.argv[1:]
outbox.CLAIMED = 500_000_000

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if when == "claimed":
    HubConnection.post = die
else:
    outbox.Outbox._mark = lambda self: die() if self._open else None
database = Database(DatabaseSettings(url=database))
sender = CommandSender(CommandSettings(enabled=True), load_key(Path(key)))
hub = HubSettings(name="hub-0", wait=0.02)
Hub(database, BrokerSettings(url=broker), hub, RegistrySettings(), SystemClock(), [sender]).start()
time.sleep(60)
"""


@SQLITE
@pytest.mark.parametrize("when", ["claimed", "published"])
def test_a_hub_is_killed_and_another_sends_it_again_and_it_is_written_once(tmp_path, database, iotcore, when):  # noqa: F811
    key = tmp_path / "key.pem"
    key.write_bytes(PRIVATE)
    key.chmod(0o600)
    with Line(tmp_path, database, iotcore) as line:
        line.start_gateway()
        command = line.service.made(ttl=120, value=1200.0)
        url = database.engine.url.render_as_string(hide_password=False)
        process = subprocess.run(
            [sys.executable, "-c", _HUB, when, url, iotcore.url, str(key)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
        )
        assert process.returncode == -signal.SIGKILL
        before = line.service.read(command)["status"]
        assert before in ("queued", "done"), "done: if this computer was busy, the dead hub has heard the answer"
        assert line.service.cancel(command)[0] == 409, "a gateway may have it"
        if when == "published":
            until(lambda: line.device.writes, what="that it is written")
        line.start_hub("hub-1")
        if before == "queued":
            until(lambda: line.service.read(command)["sent_at"], what="that it is sent again")
            expected = {"done": 1} | ({"refused_replayed": 1} if when == "published" else {})
            until(lambda: line.gateway.commands.counts == expected, what="that it came again")
        told = line.ended(command, 60)
        assert (told["status"], told["read_back"]) == ("done", 1200)
        assert len(line.device.writes) == 1
        assert line.service.read(command)["status"] == "done"


def hub_process(line, iotcore, tmp_path):  # noqa: F811
    key = tmp_path / "key.pem"
    key.write_bytes(PRIVATE)
    key.chmod(0o600)
    more = f'[commands]\nenabled = true\nkey = "{key}"'
    return HubProcess(tmp_path / "hub", line.database.settings, iotcore.url, more=more)


@SQLITE
def test_the_hub_as_it_is_run(tmp_path, database, iotcore):  # noqa: F811
    with Line(tmp_path, database, iotcore) as line, hub_process(line, iotcore, tmp_path) as hub:
        line.start_gateway()
        told = line.ended(line.service.made(value=1111.0, ttl=120), 60)
        assert (told["status"], told["read_back"]) == ("done", 1111)
        assert hub.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_hubs_are_killed_at_random_and_each_command_is_written_once(tmp_path, database, iotcore, seed):  # noqa: F811
    random = Random(seed)
    with Line(tmp_path, database, iotcore) as line, hub_process(line, iotcore, tmp_path) as hub:
        line.start_gateway()
        made = []
        for at in range(30):
            made.append(line.service.made(value=1000.0 + at, ttl=600))
            time.sleep(random.uniform(0, 0.3))
            if random.random() < 0.3:
                hub.kill()
                hub.start()
        for command in made:
            assert line.ended(command, 120)["status"] == "done"
        written = [registers for _, registers in line.device.writes]
        assert len(written) == len(made) == len({tuple(each) for each in written})
