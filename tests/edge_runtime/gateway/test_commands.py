"""A signed command is carried out at most once, within what is allowed here, read back, and answered."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.clock import SystemClock
from edge_runtime.contract.command import Command, sign
from edge_runtime.contract.message import Lane
from edge_runtime.contract.topics import down
from edge_runtime.errors import CommandError, CommandUnsureError, EdgeError
from edge_runtime.gateway.command_log import CommandLog
from edge_runtime.gateway.command_rules import MINUTE, Rate
from edge_runtime.gateway.commands import CommandDesk
from edge_runtime.gateway.config import AllowedCommand, CommandSettings
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.sources.modbus.source import ModbusSettings, ModbusSource, ModbusValue
from tests.edge_runtime.broker import iotcore, until  # noqa: F401
from tests.edge_runtime.hub import ROOT, Hub
from tests.edge_runtime.sources.inbox import ListInbox
from tests.edge_runtime.sources.modbus.modbus_server import ModbusServer
from tests.edge_runtime.upstream.station import GATEWAY, SITE
from tests.edge_runtime.upstream.station import Station as Gateway

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECOND = 1_000_000_000


class Machine:
    """A source whose set-points lie in a file: one line for each write."""

    name = "line"

    def __init__(self, folder):
        self.file, self.offset, self.error, self.hang = folder / "machine", 0.0, None, threading.Event()
        self.hang.set()

    def write(self, asset, channel, value):
        if self.error is not None:
            raise self.error
        with self.file.open("a") as file:
            file.write(f"{asset} {channel} {value}\n")
        self.hang.wait()
        return self.read(asset, channel)

    def read(self, asset, channel):
        if not self.writes():
            raise CommandError("nothing is there")
        assert self.writes()[-1].startswith(f"{asset} {channel} ")
        return float(self.writes()[-1].split()[-1]) + self.offset

    def writes(self):
        return self.file.read_text().splitlines() if self.file.exists() else []


class TurnedClock(SystemClock):
    """The computer's, and what a test adds to it."""

    def __init__(self):
        self.jump = self.passed = 0

    def utc(self):
        return super().utc() + self.jump + self.passed

    def monotonic(self):
        return super().monotonic() + self.passed


class Station:
    """A desk with a real journal."""

    def __init__(self, folder, **settings):
        self.folder, self.machine, self.clock = folder, Machine(folder), TurnedClock()
        self.terms = {"pump-3": 2}
        key = folder / "centre.pem"
        pem, public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        key.write_bytes(KEY.public_key().public_bytes(pem, public))
        allow = (AllowedCommand("pump-3", "speed", 0, 1500, per_minute=600),)
        self.settings = CommandSettings(**{"enabled": True, "public_key": key, "allow": allow} | settings)
        self.open()

    def open(self):
        self.journal = Journal(self.folder / "journal.db", JournalSettings(), SpoolSettings(), self.clock)
        self.journal.open()
        self.journal.start(lambda _: None)
        self.desk = CommandDesk(
            self.settings,
            "gw-7",
            [self.machine],
            self.terms.get,
            self.journal.submit,
            self.folder / "commands.db",
            self.clock,
            write_timeout=0.3,
        )
        self.desk.start()

    def close(self):
        self.desk.stop()
        self.journal.close()

    def command(self, id_="c-1", **changes):
        now = self.clock.utc()
        fields = {"asset": "pump-3", "term": 2, "channel": "speed", "value": 1450.0, "gateway": "gw-7"}
        fields |= {"issued": now - SECOND, "expires": now + 60 * SECOND, "ttl": 30.0}
        return Command(**{"id": id_} | fields | changes)

    def give(self, command, retained=False, key=KEY):
        self.desk.receive(sign(key, command), retained)

    def answers(self):
        assert self.journal.flush()
        messages = [spooled.message for spooled in self.journal.read(Lane.ALARM, 0, 1000)]
        assert all(message.kind == "ack" for message in messages)
        return [json.loads(message.body) for message in messages]

    def answer(self, id_="c-1", count=1):
        """The `count`-th answer to a command."""
        found = []

        def there():
            found[:] = [one for one in self.answers() if one["id"] == id_]
            return len(found) >= count

        until(there, what=f"the answer to {id_}")
        return found[count - 1]

    def refusal(self, command, **options):
        """The reason that is counted, and whether it is answered too."""
        before = dict(self.desk.counts)
        answers = len(self.answers())
        self.give(command, **options)
        until(lambda: dict(self.desk.counts) != before)
        (reason,) = [name for name, count in self.desk.counts.items() if count != before.get(name, 0)]
        answered = [one for one in self.answers()[answers:] if one["status"] == "refused"]
        assert not self.machine.writes()
        return reason, bool(answered) and answered[0]["reason"]


@pytest.fixture
def station(tmp_path):
    made = Station(tmp_path)
    yield made
    made.close()


def test_it_is_written_once_read_back_and_answered(station):
    station.give(station.command())
    answer = station.answer()
    assert (answer["status"], answer["value"], answer["asset"], answer["channel"]) == ("done", 1450, "pump-3", "speed")
    assert station.machine.writes() == ["pump-3 speed 1450.0"]
    assert station.desk.counts == {"done": 1}


def test_commands_are_off_by_default(tmp_path):
    desk = CommandDesk(CommandSettings(), "gw-7", [], {}.get, lambda _: True, tmp_path / "c.db", SystemClock())
    desk.start()
    desk.receive(b"{}", False)
    desk.stop()
    assert desk.counts == {"refused_off": 1}
    assert not (tmp_path / "c.db").exists()


def test_that_commands_are_off_is_answered_once_a_second_at_most(tmp_path):
    clock, works = TurnedClock(), []
    desk = CommandDesk(CommandSettings(), "gw-7", [], {}.get, lambda work: works.append(work) or True, tmp_path, clock)
    command = Command("c-1", "gw-7", "pump-3", 2, "speed", 1.0, issued=1, expires=2, ttl=1.0)
    for payload in (sign(KEY, replace(command, gateway="gw-8")), b"[]", b'{"gateway": "gw-7"}', b"\xff", b"1" * 70_000):
        desk.receive(payload, False)
    desk.receive(b'{"gateway": "gw-7", "id": 1, "asset": [], "channel": "speed"}', False)
    desk.receive(sign(KEY, command), True)
    assert not works
    for _ in range(3):
        desk.receive(sign(KEY, command), False)
    clock.passed += SECOND
    desk.receive(sign(KEY, command), False)
    answers = [json.loads(message.body) for work in works for message in work.messages]
    assert [(one["id"], one["status"], one["reason"]) for one in answers] == [("c-1", "refused", "off")] * 2
    assert desk.counts == {"refused_off": 11}


def test_a_replayed_command_is_answered_again_but_not_carried_out_again(station):
    command = station.command()
    station.give(command)
    first = station.answer()
    station.give(command)
    assert station.answer(count=2) | {"t": 0} == first | {"t": 0}
    station.close()
    station.open()
    station.give(command)
    station.answer(count=3)
    assert station.desk.counts == {"refused_replayed": 1}
    assert len(station.machine.writes()) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": 1500.5}, "out_of_range"),
        ({"value": -0.5}, "out_of_range"),
        ({"asset": "pump-4"}, "not_allowed"),
        ({"channel": "valve"}, "not_allowed"),
        ({"term": 1}, "term"),
        ({"term": 3}, "term"),
    ],
)
def test_what_is_not_allowed_here_is_refused_and_answered(station, changes, reason):
    assert station.refusal(station.command(**changes)) == (f"refused_{reason}", reason)


def test_an_asset_that_the_gateway_does_not_have_is_of_no_term(station):
    station.terms.clear()
    assert station.refusal(station.command())[0] == "refused_term"


def test_what_is_not_signed_by_the_centre_is_not_even_answered(station):
    other = Ed25519PrivateKey.generate()
    assert station.refusal(station.command(), key=other) == ("refused_signature", False)
    fields = json.loads(sign(KEY, station.command()))
    for name, value in {"value": 1.0, "asset": "pump-4", "id": "c-2", "expires": 2**60, "new": 1}.items():
        station.desk.receive(json.dumps(fields | {name: value}).encode(), False)
    until(lambda: station.desk.counts["refused_signature"] == 6)
    assert station.refusal(station.command(gateway="gw-8")) == ("refused_gateway", False)
    assert station.refusal(station.command(), retained=True) == ("refused_retained", False)


def test_a_command_ends_by_the_clock_of_the_day(station):
    old = station.command()
    station.clock.jump = 61 * SECOND
    assert station.refusal(old) == ("refused_expired", "expired")
    assert station.refusal(replace(station.command(), issued=station.clock.utc() + 400 * SECOND, expires=2**62)) == (
        "refused_future",
        "future",
    )


def test_a_command_ends_by_the_clock_that_nobody_sets(station):
    """It waits behind another; meanwhile the clock of the day is turned back."""
    station.machine.hang.clear()
    station.give(station.command("c-1"))
    until(station.machine.writes)
    station.give(station.command("c-2", ttl=5))
    station.clock.passed += 6 * SECOND
    station.clock.jump -= 60 * SECOND
    station.machine.hang.set()
    assert station.answer("c-2")["reason"] == "expired"
    assert len(station.machine.writes()) == 1


def test_while_the_stop_file_exists_nothing_is_written(tmp_path):
    stop = tmp_path / "stop"
    station = Station(tmp_path, stop_file=stop)
    stop.touch()
    assert station.refusal(station.command("c-1")) == ("refused_stopped", "stopped")
    stop.unlink()
    station.give(station.command("c-2"))
    assert station.answer("c-2")["status"] == "done"
    station.close()


def test_what_comes_twice_uses_the_rate_once(tmp_path):
    station = Station(tmp_path, allow=(AllowedCommand("pump-3", "speed", 0, 1500, per_minute=2),))
    first = station.command("c-1")
    station.give(first)
    for count in (2, 3):
        station.give(first)
        assert station.answer("c-1", count)["status"] == "done"
    station.give(station.command("c-2"))
    assert station.answer("c-2")["status"] == "done"
    station.close()


def test_what_was_done_is_told_again_whatever_is_allowed_now(tmp_path):
    stop = tmp_path / "stop"
    station = Station(tmp_path, stop_file=stop)
    command = station.command()
    station.give(command)
    station.answer()
    stop.touch()
    station.terms["pump-3"] = 3
    station.give(command)
    assert station.answer(count=2)["status"] == "done"
    assert station.desk.counts == {"done": 1, "refused_replayed": 1}
    station.close()


@pytest.mark.parametrize(
    ("value", "given"), [(1549.0, 1500.0), (1550.0, None), (1450.0, None), (1500.0, 1500.0), (1500.0000001, 1500.0)]
)
def test_what_the_device_would_get_must_be_allowed_too(tmp_path, value, given):
    station = Station(tmp_path, allow=(AllowedCommand("pump-3", "speed", 1450, 1550, per_minute=600, tolerance=100),))
    station.machine.nearest = lambda _asset, _channel, value: round(value / 100) * 100.0
    station.give(station.command(value=value))
    answer = station.answer()
    if given is None:
        assert (answer["status"], answer["reason"]) == ("refused", "out_of_range")
        assert not station.machine.writes()
    else:
        assert answer["status"] == "done"
    station.close()


def test_a_command_that_expires_while_the_device_is_asked_is_not_written(station):
    def slow(_asset, _channel, value):
        station.clock.passed += 31 * SECOND
        return value

    station.machine.nearest = slow
    station.give(station.command())
    answer = station.answer()
    assert (answer["status"], answer["reason"]) == ("refused", "expired")
    assert not station.machine.writes()


def test_a_limit_may_be_commanded_though_no_float_is_exactly_it(tmp_path):
    station = Station(tmp_path, allow=(AllowedCommand("pump-3", "speed", 0.1, 0.3, per_minute=600),))
    station.machine.nearest = lambda _asset, _channel, value: value * (1 + 1e-7)
    station.give(station.command(value=0.3))
    assert station.answer()["status"] == "done"
    station.close()


def test_the_rate_of_a_channel_is_limited_also_across_a_restart(tmp_path):
    station = Station(tmp_path, allow=(AllowedCommand("pump-3", "speed", 0, 1500, per_minute=2),))
    for number in range(4):
        station.give(station.command(f"c-{number}"))
    assert [station.answer(f"c-{n}")["status"] for n in range(4)] == ["done", "done", "refused", "refused"]
    assert station.answer("c-3")["reason"] == "rate"
    station.close()
    station.open()
    station.give(station.command("c-5"))
    assert station.answer("c-5")["reason"] == "rate"
    station.clock.passed += 31 * SECOND
    station.give(station.command("c-6"))
    assert station.answer("c-6")["status"] == "done"
    station.close()


@settings(deadline=None)
@given(st.floats(0, 600), st.lists(st.integers(0, MINUTE), max_size=200))
def test_no_minute_has_more_writes_than_the_rate_and_one_burst(per_minute, waits):
    rate, now, taken = Rate(per_minute, 0, 0), 0, []
    for wait in waits:
        now += wait
        if rate.take(now):
            taken.append(now)
    for start in taken:
        assert sum(start <= t < start + MINUTE for t in taken) <= per_minute + max(1, per_minute) + 1


def test_what_is_read_back_must_agree(station):
    station.machine.offset = -7.0  # within half a percent of the range
    station.give(station.command("c-1"))
    assert (station.answer("c-1")["status"], station.answer("c-1")["value"]) == ("done", 1443)
    station.machine.offset = -8.0
    station.give(station.command("c-2"))
    answer = station.answer("c-2")
    assert (answer["status"], answer["value"]) == ("failed", 1442)
    assert "1442 read back" in answer["reason"]
    station.machine.offset = float("nan")
    station.give(station.command("c-3"))
    assert (station.answer("c-3")["status"], station.answer("c-3")["value"]) == ("failed", None)


@pytest.mark.parametrize("error", [CommandError("the valve is stuck"), ZeroDivisionError("division")])
def test_what_a_source_cannot_write_is_answered(station, error):
    station.machine.error = error
    station.give(station.command())
    assert station.answer()["status"] == "failed"
    assert str(error) in station.answer()["reason"]


def test_what_was_sent_and_not_answered_is_unknown(station):
    station.machine.error = CommandUnsureError("was sent: no answer")
    station.give(station.command())
    answer = station.answer()
    assert (answer["status"], answer["reason"], answer["value"]) == ("unknown", "was sent: no answer", None)


def test_a_source_that_hangs_holds_nobody_up_and_its_outcome_is_unknown(station):
    station.machine.hang.clear()
    station.give(station.command("c-1"))
    assert station.answer("c-1")["status"] == "unknown"
    station.give(station.command("c-2"))
    assert station.answer("c-2")["reason"] == "busy"
    station.machine.hang.set()
    until(lambda: not station.desk._busy["line"].is_alive())
    station.give(station.command("c-3"))
    assert station.answer("c-3")["status"] == "done"


def test_when_the_id_cannot_be_kept_nothing_is_written(station):
    station.desk._log._connection.execute("PRAGMA query_only=1")
    assert station.refusal(station.command()) == ("refused_disk", "disk")


def test_answers_that_find_no_room_are_given_later(station):
    submit, station.desk._submit = station.desk._submit, lambda _: False
    station.give(station.command())
    until(lambda: station.desk._unanswered)
    assert station.answers() == []
    station.desk._submit = submit
    assert station.answer()["status"] == "done"
    until(lambda: not station.desk._log.unanswered())


def test_an_answer_that_was_not_committed_is_given_after_the_restart(station):
    station.desk._submit = lambda _: True  # and then the power goes
    station.give(station.command())
    until(lambda: station.desk._log.unanswered())
    station.close()
    station.open()
    assert station.answer()["status"] == "done"
    assert len(station.machine.writes()) == 1


_CRASH = """
import sys, time
from pathlib import Path
from tests.edge_runtime.gateway.test_commands import Station
station = Station(Path(sys.argv[1]))
station.machine.hang.clear()
station.desk._write_timeout = 60
station.give(station.command())
time.sleep(60)
"""


def test_killed_between_id_and_answer_it_is_unknown_read_back_and_never_tried_again(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _CRASH, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        until(Machine(tmp_path).writes)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    station = Station(tmp_path)
    answer = station.answer()
    assert (answer["status"], answer["value"]) == ("unknown", 1450)
    station.give(station.command())
    station.answer(count=2)
    assert len(station.machine.writes()) == 1
    assert [one["status"] for one in station.answers()] == ["unknown", "unknown"]
    station.close()


def test_what_cannot_be_read_back_is_unknown_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_runtime.gateway.commands.READ_TRIES", 2)
    with_journal = Station(tmp_path)
    command = with_journal.command()
    with_journal.close()
    log = CommandLog(tmp_path / "commands.db")
    assert log.begin(command, with_journal.clock.utc())
    log.close()
    with_journal.open()
    assert with_journal.answer() | {"t": 0} == {
        "id": "c-1",
        "status": "unknown",
        "asset": "pump-3",
        "channel": "speed",
        "reason": "the gateway stopped before it knew whether this was written",
        "value": None,
        "t": 0,
    }
    with_journal.close()


def test_too_many_at_once_are_refused(station):
    station.machine.hang.clear()
    station.desk._write_timeout = 60
    for number in range(50):
        station.give(station.command(f"c-{number}"))
    assert station.desk.counts["refused_busy"] >= 15
    station.machine.hang.set()


def test_channels_name_their_source_where_there_are_several(tmp_path):
    station = Station(tmp_path)
    station.close()
    other = Machine(tmp_path)
    other.name = "other"

    def desk(**changes):
        allow = tuple(replace(one, **changes) for one in station.settings.allow)
        settings, sources = replace(station.settings, allow=allow), [station.machine, other]
        return CommandDesk(settings, "gw-7", sources, {}.get, lambda _: True, tmp_path / "c.db", station.clock)

    with pytest.raises(EdgeError, match="line, other"):
        desk()
    with pytest.raises(EdgeError, match="'third'"):
        desk(source="third")
    assert desk(source="other")._sources["pump-3", "speed"] is other


def test_a_key_that_cannot_be_used_is_told_at_the_start(tmp_path):
    for changes in ({"public_key": tmp_path / "none"}, {"public_key": Path(__file__)}):
        with pytest.raises(EdgeError, match="key"):
            Station(tmp_path, **changes)


def test_from_the_centre_to_a_register_and_back(tmp_path, iotcore):  # noqa: F811
    """All real: broker, link, journal, Modbus device, hub."""
    station = Station(tmp_path)  # for its settings and commands
    station.close()
    values = (ModbusValue("pump-3", "speed", 4, type_="float32", writable=True),)
    with (
        ModbusServer() as device,
        Hub(iotcore.url, tmp_path / "hub") as hub,
        Gateway(tmp_path / "gateway", iotcore.url, lambda *came: desk.receive(*came)) as gateway,
    ):
        source = ModbusSource(ModbusSettings("line", "127.0.0.1", values, port=device.port), station.clock)
        source.start(ListInbox())
        desk = CommandDesk(
            station.settings,
            GATEWAY,
            [source],
            {"pump-3": 2}.get,
            gateway.journal.submit,
            tmp_path / "gateway" / "commands.db",
            station.clock,
        )
        desk.start()
        gateway.start()
        until(lambda: source.status().connected and gateway.link.status().connected)
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.connect("127.0.0.1", iotcore.port)
        client.loop_start()
        topic = down(SITE, GATEWAY, "command")
        until(lambda: gateway.link._connection.subscribed)
        for name, value in (("c-1", 1450.5), ("c-2", 9999.0)):
            client.publish(topic, sign(KEY, station.command(name, value=value)), 1)
        until(lambda: len(hub.told("ack")) == 2)
        answers = {one["id"]: (one["status"], one["value"], one["reason"]) for one in hub.told("ack")}
        assert answers == {"c-1": ("done", 1450.5, None), "c-2": ("refused", None, "out_of_range")}
        assert source.read("pump-3", "speed") == 1450.5
        client.disconnect()
        client.loop_stop()
        desk.stop()
        source.stop()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_comes_is_refused_and_counted(data):
    class Desk(CommandDesk):
        def __init__(self):
            super().__init__(CommandSettings(), "gw-7", [], {}.get, lambda _: True, Path("/nowhere"), SystemClock())
            self._settings = CommandSettings(enabled=True, public_key=Path("/nowhere"))
            self._key = KEY.public_key()

    desk = Desk()
    for payload in (data, base64.b64encode(data), b'{"signature":"' + base64.b64encode(data) + b'"}'):
        desk.receive(payload, False)
        desk._handle(desk._queue.get_nowait())
    assert sum(desk.counts.values()) == 3
