"""The link with real brokers, a real journal and a hub in a process of its own: all arrives once, in its order."""

import json
import logging
import os
import random as chance
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import closing, contextmanager
from queue import SimpleQueue

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.contract import topics, waveform
from edge_runtime.contract.acks import Acknowledgement, LaneAck
from edge_runtime.contract.message import JSON, Lane, Outgoing
from edge_runtime.contract.request import Request
from edge_runtime.errors import ConfigError
from edge_runtime.tls import Tls
from edge_runtime.upstream.blocks import BlockBuilder, BlockSettings
from edge_runtime.upstream.link import LinkSettings
from tests.edge_runtime.broker import MOSQUITTO, broker, iotcore, running, until  # noqa: F401
from tests.edge_runtime.certificates import Authority
from tests.edge_runtime.hub import ROOT, Hub
from tests.edge_runtime.upstream.made import CHANNELS, SECOND, batch, outputs
from tests.edge_runtime.upstream.station import GATEWAY, SITE, Station, alarm, event


@pytest.fixture
def hub(iotcore, tmp_path):  # noqa: F811
    with Hub(iotcore.url, tmp_path / "hub") as running:
        yield running


@pytest.fixture
def station(iotcore, tmp_path):  # noqa: F811
    with Station(tmp_path / "gateway", iotcore.url) as made:
        yield made


def blocks(first, count, lane=Lane.LIVE, machines=4, size=4000):
    """Blocks of observations and prognoses `first` … first + count − 1 of each machine."""
    random = np.random.default_rng(first)
    builder = BlockBuilder("tiny", "model", CHANNELS, [f"m{i}" for i in range(machines)], BlockSettings(bytes=size))
    for number in range(first, first + count):
        one = batch(range(machines), number * SECOND, random=random)
        terms, numbers = np.zeros(machines, np.int64), np.full(machines, number)
        builder.add(number, one, terms, numbers, outputs(machines, random=random), 0)
    return builder.flush(lane)


def all_arrived(station, hub):
    try:
        until(lambda: station.backlog() == 0, what="an empty spool")
    except AssertionError as error:
        windows = {lane.name: vars(window) for lane, window in station.link._pump._windows.items()}
        raise AssertionError(
            f"{error}: {station.journal.backlog()}\n{station.link.status()}\n{station.link.tally()}\n{windows}\n"
            f"{vars(station.link._pump._flight)}\nthe hub {hub.counts()}"
        ) from error
    assert (hub.count("conflict"), hub.count("repeated")) == (0, 0)


@contextmanager
def centre(url):
    """A client that may publish anything."""
    client = Client(CallbackAPIVersion.VERSION2, "somebody", protocol=MQTTv5)
    host, port = url.split("//")[1].split(":")
    client.connect(host, int(port))
    client.loop_start()
    until(client.is_connected)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def test_what_is_spooled_arrives_and_leaves_the_spool(broker, tmp_path):  # noqa: F811
    with Hub(broker.url, tmp_path / "hub") as hub, Station(tmp_path / "gateway", broker.url).start() as station:
        station.spool(*blocks(1, 50), alarm(1), event(1))
        all_arrived(station, hub)
        assert set(hub.rows("observation")) == {(f"m{i}", 0, n) for i in range(4) for n in range(1, 51)}
        assert hub.rows("prognosis").keys() == hub.rows("observation").keys()
        assert hub.rows("alarm").keys() == {("m1", 0, 1)}
        assert [e["id"] for e in hub.told("event")] == ["e1"]
        status = station.link.status()
        assert (status.connected, status.sent) == (True, len(hub.messages()))
        assert {s.kind for s in status.streams} == {"observation", "prognosis", "alarm", "event"}
        assert all(s.bytes < s.plain_bytes for s in status.streams if s.kind in ("observation", "prognosis"))
        assert hub.statuses()[0]["state"] == "online"
        until(lambda: station.link.healthy)
    until(lambda: hub.statuses()[-1]["state"] == "offline")


def test_hub_and_broker_are_killed_again_and_again_and_everything_arrives_once(broker, tmp_path):  # noqa: F811
    """The broker is emptied by it; the gateway too goes down once and comes up again."""
    dice, number = chance.Random(1), 0
    hub = Hub(broker.url, tmp_path / "hub").start()
    station = Station(tmp_path / "gateway", broker.url).start()
    try:
        for round_ in range(8):
            for _ in range(5):
                number += 1
                lane = dice.choice([Lane.LIVE, Lane.BACKFILL])
                station.spool(*blocks(number, 1, lane), alarm(number), event(number))
                time.sleep(dice.uniform(0, 0.01))
            if round_ in (1, 4, 6):
                hub.kill()
            if round_ in (2, 4):
                broker.restart()
            if round_ == 5:
                station.restart()
            if hub._process is None:
                hub.start()
        all_arrived(station, hub)
        everything = {(f"m{i}", 0, n) for i in range(4) for n in range(1, number + 1)}
        assert set(hub.rows("observation")) == set(hub.rows("prognosis")) == everything
        assert set(hub.rows("alarm")) == {("m1", 0, n) for n in range(1, number + 1)}
        assert {e["id"] for e in hub.told("event")} == {f"e{n}" for n in range(1, number + 1)}
        assert station.link.dead_letters == 0
    finally:
        hub.kill()
        station.close()


def test_after_an_outage_alarms_and_live_data_come_first_and_the_backlog_in_order_behind_it(
    iotcore,  # noqa: F811
    tmp_path,
):
    with (
        Hub(iotcore.url, tmp_path / "hub", slow=0.002) as hub,
        Station(tmp_path / "gateway", iotcore.url, window=8) as station,
    ):
        station.spool(*(one for number in range(1, 81) for one in blocks(number, 1, Lane.BACKFILL)))
        station.spool(*blocks(81, 4, Lane.LIVE), event(1, Lane.RAW), alarm(81))
        station.start()
        until(lambda: len(hub.messages()) > 40)
        station.spool(*blocks(85, 1, Lane.LIVE), alarm(85))
        all_arrived(station, hub)
        found = hub.messages()
    assert [message["lane"] for message in found[:3]] == ["alarm", "live", "live"]
    assert all(message["backfill"] == (message["lane"] == "backfill") for message in found)
    backlog = [message["seq"] for message in found if message["lane"] == "backfill"]
    assert backlog == sorted(backlog)
    for lane in ("alarm", "live"):  # what was spooled meanwhile overtook the backlog
        last = max(i for i, message in enumerate(found) if message["lane"] == lane)
        assert sum(message["lane"] == "backfill" for message in found[last:]) > 20


def test_lost_acknowledgements_cost_nothing_but_a_second_sending(station, hub):
    hub.tell(silent=True)
    station.start().spool(*blocks(1, 3))
    until(lambda: station.link.tally().get("repeated"))
    assert station.backlog()
    hub.tell(silent=False)
    all_arrived(station, hub)
    assert hub.count("duplicate")
    until(lambda: station.link.healthy)


def test_acknowledgements_that_make_no_sense_delete_nothing(station, hub, iotcore):  # noqa: F811
    hub.tell(silent=True)
    station.start().spool(event(1), event(2))
    until(lambda: len(hub.messages()) == 2)
    with centre(iotcore.url) as client:
        topic = topics.down(SITE, GATEWAY, "ack")
        for epoch, lane, ack in (
            (station.epoch + 1, Lane.LIVE, LaneAck(2)),
            (station.epoch, Lane.RAW, LaneAck(2)),
            (station.epoch, Lane.LIVE, LaneAck(0, ((3, 10**9),))),
        ):
            client.publish(topic, Acknowledgement(epoch, {lane: ack}).pack(), 1)
        client.publish(topic, b'{"schema": "1.0", "epoch": "soon", "lanes": {}}', 1)
        client.publish(topic, b"\xff", 1)
        client.publish(topic, b'{"schema": "2.0"}', 1)
        until(lambda: station.link.tally().get("down_ack") == 6)
    tally = station.link.tally()
    assert (tally["ack_other_epoch"], tally["ack_ahead"]) == (1, 2)
    assert (tally["refused_ack_body"], tally["refused_ack_json"], tally["refused_ack_major"]) == (1, 1, 1)
    assert station.journal.flush()
    assert station.backlog() == 2
    hub.tell(silent=False)
    all_arrived(station, hub)


def test_what_nobody_takes_is_put_away_and_blocks_nothing(broker, tmp_path):  # noqa: F811
    """One message is not of the contract, one too large, one the hub never commits, one block must be split."""
    with (
        Hub(broker.url, tmp_path / "hub", refuse=[["live", 3]]) as hub,
        Station(tmp_path / "gateway", broker.url, ack_timeout=0.1, maximum_packet=4096).start() as station,
    ):
        station.spool(
            Outgoing("event", Lane.LIVE, None, 1, 1, b"{}", "text/plain"),
            Outgoing("event", Lane.LIVE, None, 1, 1, b'{"x":"' + b"x" * 9000 + b'"}', JSON),
            event(3),
        )
        station.spool(*blocks(1, 60, size=1 << 20))
        number = 10
        while station.backlog():
            number += 1
            station.spool(event(number))
            time.sleep(0.1)
            assert number < 200, "it blocks"
        station.link.stop()
        assert (hub.count("conflict"), hub.count("repeated")) == (0, 0)
        assert len(hub.rows("observation")) == len(hub.rows("prognosis")) == 240
        assert {e["id"] for e in hub.told("event")} == {f"e{n}" for n in range(11, number + 1)}
        with closing(sqlite3.connect(tmp_path / "gateway" / "dead.db")) as database:
            rows = dict(database.execute("SELECT seq, reason FROM dead_letters"))
        assert rows.keys() == {1, 2, 3}
        assert "cannot be encoded" in rows[1]
        assert "does not take it" in rows[2]
        assert "never acknowledged" in rows[3]
        assert station.link.tally()["split"] >= 1


def test_a_packet_at_which_the_broker_hangs_up_is_found(tmp_path):
    """iotcore does not say how much it takes, and drops the connection over more."""
    with (
        running("iotcore", tmp_path / "broker", max_payload=20_000) as small,
        Hub(small.url, tmp_path / "hub") as hub,
        Station(tmp_path / "gateway", small.url).start() as station,
    ):
        large = Outgoing("event", Lane.LIVE, None, 1, 1, b'{"x":"' + b"x" * 30_000 + b'"}', JSON)
        station.spool(event(1), large, event(2), alarm(1))
        all_arrived(station, hub)
        assert {e["id"] for e in hub.told("event")} == {"e1", "e2"}
        assert station.link.dead_letters == 1


def test_without_a_hub_the_log_does_not_call_the_link_healthy_and_says_why(iotcore, tmp_path, caplog):  # noqa: F811
    def told():
        return [(r.levelname, r.getMessage()) for r in caplog.records if "link to the centre" in r.getMessage()]

    with caplog.at_level(logging.INFO), Station(tmp_path / "gateway", iotcore.url, live_within=1).start() as station:
        station.link._health._down = SECOND // 10  # quicker than a plant would like it
        until(lambda: station.link.healthy and told())
        assert told() == [("INFO", "the link to the centre is up; no hub has acknowledged anything yet")]
        station.spool(event(1))
        until(lambda: not station.link.healthy and len(told()) == 2, 60)
        level, why = told()[1]
        assert level == "WARNING"
        assert why.endswith("not healthy, a backlog gathers: no hub has acknowledged anything yet")
        with Hub(iotcore.url, tmp_path / "hub") as hub:
            all_arrived(station, hub)
            until(lambda: station.link.healthy and len(told()) == 3, 60)
        assert told()[2] == ("INFO", "the link to the centre is healthy")


@contextmanager
def guarded_by(folder, rules):
    """A mosquitto with an access list."""
    (folder / "acl").write_text(rules)
    with running("mosquitto", folder / "broker") as guarded:
        guarded.kill()
        path, original = folder / "broker" / "mosquitto.conf", guarded._mosquitto
        guarded._mosquitto = lambda: [*original()[:2], _with_line(path, f"acl_file {folder / 'acl'}")]
        yield guarded.start()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed here")
def test_a_gateway_that_may_not_even_tell_its_status_is_never_healthy_and_says_why_once(tmp_path, caplog):
    with (
        guarded_by(tmp_path, "topic read overhaul/#\n") as guarded,
        Station(tmp_path / "gateway", guarded.url, heartbeat_every=1, keepalive=60).start() as station,
    ):
        station.spool(*(event(number) for number in range(3)))
        # Some brokers hang up after a refusal, so it may take some attempts until it arrives.
        until(lambda: "even the gateway's status" in station.link.status().detail, 60)
        time.sleep(1.5)  # longer than a link must look well to count as healthy
        assert not station.link.healthy
    told = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(told) == 1
    assert "check its access list" in told[0]
    assert not [record for record in caplog.records if record.getMessage().endswith("is healthy")]


def test_what_an_access_list_denies_is_put_away_if_all_else_is_allowed(tmp_path):
    with (
        guarded_by(tmp_path, "topic deny overhaul/1/+/+/up/event\ntopic readwrite overhaul/#\n") as guarded,
        Hub(guarded.url, tmp_path / "hub") as hub,
        Station(tmp_path / "gateway", guarded.url, ack_timeout=0.2).start() as station,
    ):
        station.spool(event(1), *blocks(1, 2))
        until(lambda: len(hub.rows("prognosis")) == 8)
        number = 2
        while station.backlog():
            number += 1
            station.spool(alarm(number))
            assert number < 100, "it blocks"
            time.sleep(0.1)
        assert station.link.tally()["refused_0x87"] >= 2
        assert station.link.dead_letters == 1
        assert "access list" in station.link.status().detail


def _with_line(path, line):
    path.write_text(path.read_text() + "\n" + line)
    return str(path)


def test_delivery_by_the_broker_needs_no_acknowledgement(iotcore, tmp_path):  # noqa: F811
    with (
        Hub(iotcore.url, tmp_path / "hub", silent=True) as hub,
        Station(tmp_path / "gateway", iotcore.url, delivery="broker").start() as station,
    ):
        station.spool(*blocks(1, 20), alarm(1))
        until(lambda: station.backlog() == 0)
        until(lambda: len(hub.rows("observation")) == 80)
        assert station.link.status().delivery == "broker"
        assert station.link.status().last_ack is not None


def test_a_restart_goes_on_with_what_was_not_acknowledged(station, hub):
    hub.tell(silent=True)
    station.start().spool(*blocks(1, 5))
    until(lambda: len(hub.rows("prognosis")) == 20)
    station.restart()
    station.spool(alarm(1))
    hub.tell(silent=False)
    all_arrived(station, hub)
    assert len(hub.rows("observation")) == 20


def test_a_long_backlog_costs_no_memory(station, hub):
    random = np.random.default_rng(0)
    for number in range(1, 21):
        samples = random.normal(size=(3, 80_000)).astype(np.float32)
        about = {"asset": "m1", "channel": "shake", "term": 0, "number": number, "t": number, "t_rx": number}
        station.spool(*waveform.split(samples, **about))
        station.spool(*(event(100 * number + i, Lane.BACKFILL, "x" * 1000) for i in range(50)))
    size = sum(size for _, size, _ in station.journal.backlog().values())
    tracemalloc.start()
    try:
        station.start()
        all_arrived(station, hub)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20 < size / 2.5
    finally:
        tracemalloc.stop()
    assert len(hub.told("event")) == 1000


def test_alarms_go_without_a_look_at_the_database(station, hub):
    station.start()
    until(lambda: station.link.healthy)
    station.journal.read, reads = (lambda *_: pytest.fail("it was read")), station.journal.read
    for number in range(1, 30):
        station.spool(alarm(number))
    until(lambda: len(hub.rows("alarm")) == 29)
    station.journal.read = reads


def test_requests_and_commands_reach_those_who_answer_them(iotcore, tmp_path):  # noqa: F811
    commands, requests = SimpleQueue(), SimpleQueue()
    command, request = (topics.down(SITE, GATEWAY, kind) for kind in ("command", "request"))
    with centre(iotcore.url) as client:
        client.publish(command, b"old", 1, retain=True).wait_for_publish()
        with Station(
            tmp_path / "gateway",
            iotcore.url,
            on_command=lambda payload, retained: commands.put((payload, retained)),
            on_request=requests.put,
        ).start() as station:
            assert commands.get(timeout=20) == (b"old", True)
            client.publish(command, b"new", 1)
            assert commands.get(timeout=20) == (b"new", False)
            client.publish(request, b"{}", 1)
            client.publish(request, Request("r1", "state", ("m1",)).pack(), 1)
            assert requests.get(timeout=20) == Request("r1", "state", ("m1",))
            assert station.link.tally()["refused_request_schema"] == 1


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=60), st.sampled_from([b"ack", b"command", b"request", b"other"])),
    st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.one_of(st.integers(), st.text(max_size=5), st.none(), st.booleans()),
            lambda inner: (
                st.dictionaries(st.sampled_from(["schema", "epoch", "lanes", "live", "upto", "id"]), inner)
                | st.lists(inner, max_size=3)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.integers(0, 15),
)
def test_whatever_comes_down_raises_nothing_and_is_counted(station, kind, payload, flags):
    before = sum(station.link.counts.values())
    station.link._message(0x30 | flags, b"overhaul/1/north/gw-7/down/" + kind, b"", payload, None)
    assert sum(station.link.counts.values()) > before
    assert not any(name.startswith("failed") for name in station.link.counts)


def test_who_is_killed_is_offline_by_last_will(iotcore, tmp_path):  # noqa: F811
    code = (
        "import sys, time; from pathlib import Path; from tests.edge_runtime.upstream.station import Station\n"
        "Station(Path(sys.argv[1]), sys.argv[2]).start(); print('up', flush=True); time.sleep(60)"
    )
    with Hub(iotcore.url, tmp_path / "hub") as hub:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "gateway"), iotcore.url],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        try:
            until(lambda: hub.statuses())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        until(lambda: [s["state"] for s in hub.statuses()] == ["online", "offline"])
    told = threading.Event()
    with centre(iotcore.url) as client:  # retained: who comes later learns it too
        client.on_message = lambda *_: told.set()
        client.subscribe(topics.status(SITE, GATEWAY), 1)
        assert told.wait(20)


def test_over_tls_with_a_certificate_for_each_side(tmp_path):
    authority = Authority(tmp_path / "tls")
    tls = {name: Tls(authority.ca, *authority.issue(name)) for name in ("localhost", "hub", GATEWAY)}
    server = tls["localhost"]
    with (
        running("mosquitto", tmp_path / "broker", tls=(server.ca, server.certificate, server.key)) as guarded,
        Hub(guarded.url, tmp_path / "hub", tls=tls["hub"]) as hub,
        Station(tmp_path / "gateway", guarded.url, tls=tls[GATEWAY]).start() as station,
    ):
        station.spool(alarm(1))
        all_arrived(station, hub)
        assert len(hub.rows("alarm")) == 1
        assert station.link.status().insecure is None


def test_an_unencrypted_centre_elsewhere_must_be_asked_for():
    with pytest.raises(ValueError, match="insecure = true"):
        LinkSettings(url="mqtt://centre.example")
    assert LinkSettings(url="mqtt://centre.example", insecure=True).weakness
    assert LinkSettings(url="mqtt://127.0.0.1").weakness is None
    with pytest.raises(ConfigError):
        LinkSettings(url="mqtts://centre.example", tls=Tls(ca="/nowhere")).tls.context()
