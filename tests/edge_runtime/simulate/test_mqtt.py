"""The MQTT simulator: what it plays, a gateway's MQTT source reads, whatever the broker does meanwhile."""

import argparse
import logging
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.decode import decode_strict
from edge_runtime.errors import DataError, SourceError
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.simulate.mqtt import add_arguments, broker_settings, play, run, toml
from edge_runtime.simulate.publisher import Publisher, encode
from edge_runtime.sources.mqtt.source import MqttSettings, MqttSource
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.replay.recording import Recording
from edge_runtime.sources.source import Arrival, WaveformArrival
from tests.edge_runtime.broker import broker, iotcore, until  # noqa: F401

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = """\
asset,time,flow,speed
pump-1,2026-01-03T10:00:00Z,1.5,100
pump-2,2026-01-03T10:00:00Z,0.1,
pump-1,2026-01-03T10:00:01Z,2.5,101
pump-2,2026-01-03T10:00:01Z,nan,201
"""
T0 = 1_767_434_400_000_000_000


class Inbox:
    def __init__(self):
        self.arrivals = []

    def put(self, arrival):
        self.arrivals.append(arrival)
        arrival.source.acknowledge([arrival.receipt])
        return True


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


@pytest.fixture
def listen():
    made = []

    def start(text):
        [table] = tomllib.loads(text)["source"]
        assert table.pop("type") == "mqtt"
        source, inbox = MqttSource(decode_strict(MqttSettings, table, "source", Path()), "gw-1", SystemClock()), Inbox()
        source.start(inbox)
        made.append(source)
        until(lambda: source.subscribed)
        return inbox

    yield start
    for source in made:
        source.stop()


def seen(inbox):
    return sorted((a.asset, a.time, dict(a.values)) for a in inbox.arrivals if isinstance(a, Arrival))


EXPECTED = [
    ("pump-1", T0, {"flow": 1.5, "speed": 100}),
    ("pump-1", T0 + 1_000_000_000, {"flow": 2.5, "speed": 101}),
    ("pump-2", T0, {"flow": 0.1}),
    ("pump-2", T0 + 1_000_000_000, {"speed": 201}),
]


@pytest.mark.parametrize("pace", [("--speed", 20), ("--rate", 200)], ids=["speed", "rate"])
def test_a_table_is_read_as_it_stands(listen, broker, tmp_path, capsys, pace):  # noqa: F811
    file = tmp_path / "table.csv"
    file.write_text(TABLE)
    options = options_of(file, "--url", broker.url, "--keep-times", *pace)
    inbox = listen(toml(options))
    run(options)
    until(lambda: len(inbox.arrivals) == 4)
    assert seen(inbox) == EXPECTED
    said = capsys.readouterr()
    assert said.out.startswith('[[source]]\ntype = "mqtt"')
    assert "finished: 4 of 4 messages acknowledged, 0 sent again" in said.err


def test_times_of_now_and_of_cycles(listen, broker, tmp_path):  # noqa: F811
    file = tmp_path / "table.csv"
    file.write_text("asset,time,flow\npump-1,1,1\npump-1,2.5,2\n")
    options = options_of(file, "--url", broker.url, "--unit", "cycle", "--keep-times", "--rate", 1000)
    inbox = listen(toml(options))
    play(Recording(file, "cycle"), broker_settings(options), options)
    until(lambda: len(inbox.arrivals) == 2)
    assert [a.time for a in inbox.arrivals] == [1_000_000_000, 2_500_000_000]

    file.write_text(TABLE)
    options = options_of(file, "--url", broker.url, "--speed", 100, "--prefix", "site/hall")
    inbox = listen(toml(options).replace("simulated-mqtt", "second"))
    play(Recording(file), broker_settings(options), options)
    until(lambda: len(inbox.arrivals) == 4)
    assert abs(inbox.arrivals[-1].time - time.time_ns()) < 20e9


def test_waveforms_go_in_parts(listen, broker, tmp_path):  # noqa: F811
    file, side = tmp_path / "table.csv", tmp_path / "shake.parquet"
    file.write_text(TABLE)
    samples = np.random.default_rng(1).normal(size=(2, 3 * 700)).astype(np.float32)
    times = pa.array([T0, T0 + 1_000_000_000], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"asset": ["pump-1"] * 2, "time": times, "samples": list(samples)}), side)
    options = options_of(
        file, "--url", broker.url, "--keep-times", "--rate", 500, "--waveform", f"shake={side}:3", "--part-bytes", 3000
    )
    inbox = listen(toml(options))
    run(options)
    until(lambda: len(inbox.arrivals) == 6)
    assert seen(inbox) == EXPECTED
    waves = sorted((a for a in inbox.arrivals if isinstance(a, WaveformArrival)), key=lambda a: a.time)
    assert [(a.asset, a.channel, a.time) for a in waves] == [("pump-1", "shake", T0), ("pump-1", "shake", T0 + 10**9)]
    np.testing.assert_array_equal([wave.samples for wave in waves], samples.reshape(2, 3, 700))


def test_a_broker_that_is_killed_gets_again_what_it_had_not_taken(listen, broker, tmp_path):  # noqa: F811
    file = tmp_path / "table.csv"
    stamps = np.datetime_as_string((np.arange(3000) * 10**9 + T0).view("M8[ns]"), timezone="UTC")
    file.write_text("asset,time,n\n" + "".join(f"pump-1,{stamp},{n}\n" for n, stamp in enumerate(stamps)))
    options = options_of(file, "--url", broker.url, "--keep-times", "--rate", 2000)
    inbox = listen(toml(options))
    result = []
    thread = threading.Thread(target=lambda: result.append(play(Recording(file), broker_settings(options), options)))
    thread.start()
    until(lambda: len(inbox.arrivals) > 300)
    broker.restart()
    thread.join(60)
    [summary] = result
    assert (summary.messages, summary.acked) == (3000, 3000)


def test_the_publisher_goes_on_after_a_break(iotcore):  # noqa: F811
    publisher = Publisher(BrokerSettings(name="p", url=iotcore.url), "p", window=10)
    publisher.start()
    publisher.send([encode("a", b"x")] * 25)
    iotcore.kill()
    thread = threading.Thread(target=publisher.send, args=([encode("a", b"x")] * 25,))
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive()  # the window is full
    assert publisher.waiting == 10
    iotcore.start()
    thread.join(20)
    assert publisher.finish(20)
    assert publisher.acked == 50
    assert publisher.again >= 10
    publisher.stop()


def test_while_there_is_no_broker_it_says_so_once(tmp_path, iotcore, caplog):  # noqa: F811
    file = tmp_path / "table.csv"
    file.write_text(TABLE)
    iotcore.kill()
    log = logging.getLogger("edge_runtime.mqtt.connection")
    attempts = []
    log.addFilter(count := lambda record: attempts.append(record) or True)
    player = threading.Thread(target=run, args=(options_of(file, "--url", iotcore.url, "--speed", 1000),))
    player.start()
    try:
        until(lambda: len(attempts) >= 2, what="a second attempt to connect")
        iotcore.start()
        player.join(60)
        assert not player.is_alive()
    finally:
        log.removeFilter(count)
    assert len([record for record in caplog.records if "not connected: nothing listens" in record.getMessage()]) == 1
    assert log.filters == []


def test_without_a_broker_it_says_why(tmp_path, iotcore):  # noqa: F811
    iotcore.kill()
    publisher = Publisher(BrokerSettings(name="p", url=iotcore.url), "p")
    with pytest.raises(SourceError, match="nothing listens at"):
        publisher.start(0.2)
    file = tmp_path / "table.csv"
    file.write_text(TABLE)
    with pytest.raises(SourceError, match="insecure = true"):
        run(options_of(file, "--url", "mqtt://broker.example"))
    with pytest.raises(DataError, match="CHANNEL=FILE"):
        run(options_of(file, "--waveform", "shake"))
    file.write_text("asset,time,flow\npump+1,2026-01-03T10:00:00Z,1\n")
    with pytest.raises(DataError, match="is no id"):
        run(options_of(file))
    for wrong in (("--speed", 0), ("--rate", "x"), ("--speed", 1, "--rate", 1)):
        with pytest.raises(SystemExit):
            options_of(file, *wrong)


@pytest.mark.parametrize("size", [0, 1, 100, 127, 200, 20_000])
def test_packets_are_those_of_the_standard(iotcore, size):  # noqa: F811
    topics = (MqttTopic("plant/{asset}/readings"),)
    source, inbox = MqttSource(MqttSettings(name="s", url=iotcore.url, topics=topics), "gw", SystemClock()), Inbox()
    source.start(inbox)
    until(lambda: source.subscribed)
    publisher = Publisher(BrokerSettings(name="p", url=iotcore.url), "p")
    publisher.start()
    publisher.send([encode("plant/pump-1/readings", b'{"time": 1, "text": "' + b"x" * size + b'"}')])
    assert publisher.finish(20)
    until(lambda: inbox.arrivals)
    assert len(inbox.arrivals[0].values["text"]) == size
    publisher.stop()
    source.stop()
