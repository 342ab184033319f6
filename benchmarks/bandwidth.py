"""Bytes that go up to the centre in a day of one machine, and what sending all raw data would have been.

python -m benchmarks.bandwidth [--hours H] [--interval SECONDS ...] [--json FILE]

The machine is SIMULATED: eleven slow channels each second, one JSON message for all of them, and a vibration channel of
three axes, 4,096 samples at 10 kHz, once an observation; 1 % of the time it has a damaged bearing. All else is real:
the MQTT messages are decoded, assembled, advanced by a small ONNX twin that looks at the waveforms, journalled,
and sent
over MQTT to a hub that commits and acknowledges them. Only the clock is turned, and waits whenever something is on its
way.

"Raw" is every sample and every snapshot in the MQTT packets in which it came, one packet for eleven channels. "Packed"
is the same payloads compressed by zlib (level 6), an hour of a stream at a time, with no packets around them: nobody
who wants data within the hour can do that. What goes up is all that the gateway writes into its connection: packets of
data, heartbeats, acknowledgements.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser

from benchmarks import measure
from edge_runtime.bundle import write_bundle
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from edge_runtime.sources.mqtt.source import MqttSettings
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.mqtt.waveform import user_properties
from edge_runtime.step import STATE_OUT, StepFunction
from tests.edge_runtime.broker import running, until
from tests.edge_runtime.hub import Hub
from tests.edge_runtime.proofs.fed import FedSource, publish
from tests.edge_runtime.proofs.relay import Relay

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01
INTERVALS = (1200, 60)  # seconds between observations: of the pump in data/asset_classes, and of somebody in a hurry
FAULTY = 0.01  # share of the time
EPISODE = 300  # seconds of a fault, about
AXES, SAMPLES, RATE = 3, 4096, 10_000
LIMIT = 6.0  # m/s², RMS: above it, the twin raises an alarm
# name: unit, range, value, noise, decimals: the slow channels of a pump
CHANNELS = {
    "speed": ("rpm", (300, 3600), 2950, 2.0, 1),
    "valve_position": ("%", (-2, 102), 80, 0.02, 2),
    "ambient_temperature": ("°C", (-30, 60), 22, 0.02, 2),
    "flow": ("L/min", (0, 4000), 1950, 6.0, 1),
    "inlet_pressure": ("bar", (-1, 4), 0.8, 0.004, 3),
    "outlet_pressure": ("bar", (0, 16), 5.8, 0.01, 3),
    "power": ("kW", (0, 60), 24, 0.05, 2),
    "current": ("A", (0, 120), 46, 0.1, 2),
    "motor_temperature": ("°C", (-30, 180), 71, 0.05, 2),
    "bearing_temperature": ("°C", (-30, 180), 52, 0.05, 2),
    "vibration": ("mm/s", (0, 30), 1.8, 0.03, 3),
}
CONFIG = """
[gateway]
id = "gw-bench"
site = "bench"
data = "data"
machines = "machines.csv"
[bundles]
bench = "bundle"
[link]
url = "{url}"
[http]
enabled = false
"""

# The root mean square of each axis, its peak and crest factor; the worst RMS is kept until the next snapshot.
_GRAPH = f"""
<ir_version: 10, opset_import: ["" : 21]>
bench (float[B,{len(CHANNELS)}] readings, float[B] dt, float[B] event, float[B] age, float[B,1] settings,
       float[K,{AXES},{SAMPLES}] vibration_waveform, int64[K] "vibration_waveform.row", float[B,1] state)
  => (float[B] health, float[B] anomaly_score, float[B] failure_probability, float[B] rul, float[B] rul_lower,
      float[B] rul_upper, float[B] alarm, float[B] warming_up, float[B] unfamiliar, float[B,C] quality,
      float[B,C] contribution, float[B,2] rul_model, float[B] tick,
      float[K,F] "vibration_waveform.features", float[B,1] state_out)
{{
  axis1 = Constant <value_ints = [1]> ()
  axis2 = Constant <value_ints = [2]> ()
  zero = Constant <value_float = 0.0> ()
  one = Constant <value_float = 1.0> ()
  two = Constant <value_float = 2.0> ()
  small = Constant <value_float = 0.000001> ()
  nearly = Constant <value_float = 0.9999> ()
  hundred = Constant <value_float = 100.0> ()
  squares = Mul (vibration_waveform, vibration_waveform)
  power = ReduceMean <keepdims = 0> (squares, axis2)
  rms = Sqrt (power)
  sizes = Abs (vibration_waveform)
  peak = ReduceMax <keepdims = 0> (sizes, axis2)
  divisor = Add (rms, small)
  crest = Div (peak, divisor)
  "vibration_waveform.features" = Concat <axis = 1> (rms, peak, crest)
  worst = ReduceMax <keepdims = 0> (rms, axis1)
  places = Unsqueeze ("vibration_waveform.row", axis1)
  before = Squeeze (state, axis1)
  held = ScatterND (before, places, worst)
  default = Constant <value_float = {LIMIT}> ()
  given = Squeeze (settings, axis1)
  none = IsNaN (given)
  limit = Where (none, default, given)
  load = Div (held, limit)
  health = Sub (one, load)
  anomaly_score = Clip (load, zero, nearly)
  failure_probability = Mul (anomaly_score, anomaly_score)
  over = Greater (held, limit)
  level = Cast <to = 1> (over)
  alarm = Mul (level, two)
  lost = IsNaN (readings)
  quality = Cast <to = 1> (lost)
  used = Where (lost, zero, readings)
  means = ReduceMean <keepdims = 1> (used, axis1)
  contribution = Sub (used, means)
  rul = Mul (health, hundred)
  rul_lower = Sub (rul, one)
  rul_upper = Add (rul, one)
  no_age = IsNaN (age)
  unknown = Cast <to = 1> (no_age)
  warming_up = Mul (zero, unknown)
  unfamiliar = Mul (zero, dt)
  tick = Mul (zero, event)
  column = Unsqueeze (rul, axis1)
  rul_model = Concat <axis = 1> (column, column)
  state_out = Unsqueeze (held, axis1)
}}
"""


# ---------------------------------------------------------------------- the machine, simulated


class Machine:
    """What its sensors say at each second. `faults`: (from, to) in seconds."""

    def __init__(self, seconds: int, interval: int, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self.faults = list(_episodes(seconds, interval))

    def is_faulty(self, second: int) -> bool:
        return any(begin <= second < end for begin, end in self.faults)

    def readings(self, second: int) -> dict[str, float]:
        """Noise, the day's warmth, and a bearing that gets hot and shakes."""
        warmth = 4 * np.sin(2 * np.pi * second / 86_400)
        faulty = self.is_faulty(second)
        found = {}
        for name, (_, _, value, noise, decimals) in CHANNELS.items():
            reading = value + noise * self._random.normal()
            if "temperature" in name:
                reading += warmth + (12 if faulty and name == "bearing_temperature" else 0)
            if name == "vibration" and faulty:
                reading *= 3
            found[name] = round(float(reading), decimals)
        return found

    def snapshot(self, second: int) -> np.ndarray[Any, Any]:
        """f32[axes, samples] in m/s², 16 bits converted: harmonics of the shaft, noise; impacts when faulty."""
        t = np.arange(SAMPLES) / RATE
        phase = self._random.uniform(0, 2 * np.pi, (AXES, 6, 1))
        size = np.array([1.2, 0.7, 0.4, 0.2, 0.15, 0.1])[None, :, None]
        order = np.arange(1, 7)[None, :, None]
        wave = (size * np.sin(2 * np.pi * 49.2 * order * t + phase)).sum(axis=1)
        wave += self._random.normal(0, 0.8, wave.shape)
        if self.is_faulty(second):
            since = t % (1 / 152.0)
            wave += 80 * np.exp(-since * 900) * np.sin(2 * np.pi * 3100 * since)
        step = 1000 / 2**16
        return (np.round(wave / step) * step).astype(np.float32)


def _episodes(seconds: int, interval: int) -> Iterator[tuple[int, int]]:
    """Faults of about `EPISODE` seconds, spread over the time, each with a snapshot in it."""
    count = max(1, round(FAULTY * seconds / EPISODE))
    length = round(FAULTY * seconds / count)
    for i in range(count):
        taken = taken_at(round((i + 0.5) * seconds / count), interval)
        yield taken - length // 2, taken - length // 2 + length


def taken_at(second: int, interval: int) -> int:
    """When the snapshot of the observation that `second` belongs to is taken: shortly before its end."""
    return -(-second // interval) * interval - 5


# ---------------------------------------------------------------------- the gateway, real


class TurnedClock:
    def __init__(self) -> None:
        self.now = START

    def utc(self) -> int:
        return self.now

    def monotonic(self) -> int:
        return self.now - START + SECOND


class SteppedGateway(Gateway):
    """Its engine goes on only when told: the clock must not run away from it."""

    def _run_engine(self) -> None:
        pass

    def step(self) -> None:
        self.engine.step()
        self.sources[0].work()  # type: ignore[attr-defined]

    def settle(self) -> None:
        """Until the centre has acknowledged all that was made, and the heartbeat that is due has gone."""
        assert self.journal.flush()
        link = self.link
        link._connection.wake()
        until(lambda: not link._pump.outstanding and self._all_taken() and link._heartbeat > self.clock.monotonic())

    def _all_taken(self) -> bool:
        return all(feed.peek() is None for feed in self.link._pump._feeds.values())


def bench_bundle(folder: Path, interval: int) -> Path:
    """A bundle of the graph above."""
    model = onnx.parser.parse_model(_GRAPH)
    twin = model.SerializeToString()
    step = StepFunction(twin)
    channels = [
        {"name": name, "quantity": name, "unit": unit, "range": span, "aggregate": "mean"}
        for name, (unit, span, *_) in CHANNELS.items()
    ]
    contract = {
        "protocol": "1.0",
        "fleet": "bench",
        "asset_class": "bench",
        "title": "Pump with a vibration sensor (simulated)",
        "simulated": True,
        "time": {"unit": "s", "interval": interval, "tick": 14400, "max_gap": 172800},
        "life": {"unit": "d", "time_units": 86400, "age": "optional"},
        "labels": {"cap": 20, "horizon": 7},
        "channels": channels,
        "derived": [],
        "waveforms": [
            {
                "name": "vibration_waveform",
                "unit": "m/s2",
                "axes": ["axial", "horizontal", "vertical"],
                "samples": SAMPLES,
                "rate": RATE,
            }
        ],
        "settings": [{"name": "limit", "unit": "m/s2", "range": [0, 500], "default": LIMIT}],
        "state": {
            "size": 1,
            "slices": [{"name": "rms", "scope": "life", "start": 0, "size": 1, "fingerprint": "rms"}],
        },
        "outputs": list(step.outputs),
        "rul_models": ["a", "b"],
        "alarms": [{"name": "shaking", "level": 2, "signal": "vibration", "above": LIMIT}],
        "health": "1 - RMS over its limit",
        "tolerance": {"CPUExecutionProvider": dict.fromkeys([*step.outputs, STATE_OUT], 1e-3)},
    }
    random = np.random.default_rng(1)
    inputs = {
        "readings": random.normal(size=(3, len(CHANNELS))).astype(np.float32),
        "dt": np.arange(3, dtype=np.float32),
        "event": np.zeros(3, np.float32),
        "age": np.full(3, np.nan, np.float32),
        "settings": np.full((3, 1), np.nan, np.float32),
        "vibration_waveform": random.normal(size=(1, AXES, SAMPLES)).astype(np.float32),
        "vibration_waveform.row": np.array([1]),
        "state": np.zeros((3, 1), np.float32),
    }
    golden = {f"in.{k}": v for k, v in inputs.items()} | {f"out.{k}": v for k, v in step(inputs).items()}
    write_bundle(folder, twin, golden, contract, models={}, quality={}, provenance={})
    return folder


@contextmanager
def gateway_of(folder: Path, interval: int, url: str) -> Iterator[tuple[SteppedGateway, FedSource, TurnedClock]]:
    bench_bundle(folder / "bundle", interval)
    (folder / "machines.csv").write_text("asset,class\npump-1,bench\n")
    (folder / "gateway.toml").write_text(CONFIG.format(url=url))
    clock = TurnedClock()
    topics = (
        MqttTopic("plant/{asset}/readings"),
        MqttTopic("plant/{asset}/vibration", format="waveform", channel="vibration_waveform"),
    )
    source = FedSource(MqttSettings(name="plant", url="mqtt://127.0.0.1:1", topics=topics), "gw-bench", clock)
    gateway = SteppedGateway(read_config(folder / "gateway.toml"), clock, [source], synced=lambda: True)
    gateway.start()
    try:
        yield gateway, source, clock
    finally:
        gateway.stop()


# ---------------------------------------------------------------------- what is counted


@dataclass
class Stream:
    messages: int = 0
    bytes: int = 0


@dataclass
class Incoming(Stream):
    """`packed`: bytes of the payloads, compressed an hour at a time."""

    packed: int = 0
    _packer: Any = field(default=None, repr=False)

    def add(self, packet: bytes, payload: bytes) -> None:
        self.messages += 1
        self.bytes += len(packet)
        self._packer = self._packer or zlib.compressobj(6)
        self.packed += len(self._packer.compress(payload))

    def end_hour(self) -> None:
        if self._packer is not None:
            self.packed += len(self._packer.flush())
            self._packer = None


@dataclass
class Day:
    """What came and went. `up`: kind → messages and bytes; `total` with all that MQTT needs, `down` came back."""

    interval: int
    hours: float
    faulty_seconds: int
    observations: int
    alarms: int
    snapshots_sent: int
    seconds: float
    raw: dict[str, Incoming]
    up: dict[str, Stream]
    total: int
    down: int

    @property
    def raw_bytes(self) -> int:
        return sum(stream.bytes for stream in self.raw.values())

    @property
    def packed_bytes(self) -> int:
        return sum(stream.packed for stream in self.raw.values())

    @property
    def saved(self) -> float:
        """Share of the raw bytes that was not sent."""
        return 1 - self.total / self.raw_bytes

    @property
    def saved_of_packed(self) -> float:
        return 1 - self.total / self.packed_bytes

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        for stream in found["raw"].values():
            del stream["_packer"]
        return found | {"saved": self.saved, "saved_of_packed": self.saved_of_packed}


def play(folder: Path, interval: int, hours: float, seed: int = 1) -> Day:
    """One machine for so many hours."""
    seconds = round(hours * 3600)
    machine = Machine(seconds, interval, seed)
    raw = {"readings": Incoming(), "vibration_waveform": Incoming()}
    began = time.monotonic()
    with (
        running("iotcore", folder / "broker") as broker,
        Hub(broker.url, folder / "hub") as hub,
        Relay(broker.port).up() as network,
        gateway_of(folder, interval, network.url) as (gateway, source, clock),
    ):
        until(lambda: gateway.link.status().connected)
        clock.now += 2 * SECOND
        until(lambda: gateway.link.healthy or _turn(clock, 1))
        sent, received = network.sent, network.received
        for second in range(1, seconds + 1):
            clock.now = max(clock.now, START + second * SECOND)
            feed(source, machine, second, interval, raw)
            position = gateway.engine.position
            gateway.step()
            if second % 3600 == 0:
                for stream in raw.values():
                    stream.end_hour()
            if second % 10 == 0 or gateway.engine.position > position + 1:
                gateway.settle()
        for stream in raw.values():
            stream.end_hour()
        gateway.settle()
        status = gateway.link.status()
        up = {stream.kind: Stream(stream.messages, stream.bytes) for stream in status.streams}
        statuses = hub.query("SELECT count(*), coalesce(sum(length(body)), 0) FROM statuses")[0]
        up["status"] = Stream(*statuses)
        total = network.sent - sent
        return Day(
            interval=interval,
            hours=hours,
            faulty_seconds=sum(end - begin for begin, end in machine.faults),
            observations=gateway.engine.twins["bench"].counts["observations"],
            alarms=len(hub.rows("alarm")),
            snapshots_sent=gateway.engine.streams["bench"]._raw.counts["sent"],
            seconds=time.monotonic() - began,
            raw=raw,
            up=up,
            total=total,
            down=network.received - received,
        )


def feed(source: FedSource, machine: Machine, second: int, interval: int, raw: dict[str, Incoming]) -> None:
    """What the machine sends in this second."""
    at = START + second * SECOND
    payload = json.dumps({"time": at, **machine.readings(second)}).encode()
    packet = publish(b"plant/pump-1/readings", payload, mid=_mid(second))
    raw["readings"].add(packet, payload)
    source.feed(packet, 0)
    if second == taken_at(second, interval):
        payload = machine.snapshot(second).astype("<f4").tobytes()
        packed = user_properties({"time": at, "axes": AXES, "samples": SAMPLES}).pack()  # type: ignore[no-untyped-call]
        properties = packed[next(i for i, byte in enumerate(packed) if byte < 128) + 1 :]
        packet = publish(b"plant/pump-1/vibration", payload, properties, mid=_mid(second))
        raw["vibration_waveform"].add(packet, payload)
        source.feed(packet, 1)


def _mid(number: int) -> int:
    return number % 65_535 + 1


def _turn(clock: TurnedClock, seconds: float) -> None:
    clock.now += int(seconds * SECOND)


def show(day: Day) -> None:
    print(
        f"\nSIMULATED machine, {day.hours:g} h, an observation and a snapshot every {day.interval} s, "
        f"{day.faulty_seconds} s of faults: {day.alarms} alarm messages, "
        f"{day.snapshots_sent} of {day.raw['vibration_waveform'].messages} snapshots sent\n"
    )
    of = {"observation": "readings", "waveform": "vibration_waveform"}
    rows = []
    for kind, stream in sorted(day.up.items(), key=lambda item: -item[1].bytes):
        came = day.raw.get(of.get(kind, ""))
        saved = f"{100 * (1 - stream.bytes / came.bytes):.1f} %" if came else ""
        rows.append([kind, f"{stream.messages:,}", f"{stream.bytes:,}", f"{came.bytes:,}" if came else "", saved])
    rest = day.total - sum(stream.bytes for stream in day.up.values())
    rows.append(["MQTT itself, acknowledgements", "", f"{rest:,}", "", ""])
    rows.append(["all", "", f"{day.total:,}", f"{day.raw_bytes:,}", f"{100 * day.saved:.1f} %"])
    rows.append(
        [
            "all, against packed raw data",
            "",
            f"{day.total:,}",
            f"{day.packed_bytes:,}",
            f"{100 * day.saved_of_packed:.1f} %",
        ]
    )
    print(measure.table(["stream", "messages", "bytes up", "raw", "saved"], rows))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--interval", type=int, nargs="+", default=list(INTERVALS), help="seconds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    days = []
    for interval in options.interval:
        with tempfile.TemporaryDirectory() as folder:
            days.append(play(Path(folder), interval, options.hours))
        show(days[-1])
    result = {"about": measure.about("numpy", "onnxruntime"), "days": [day.plain() for day in days]}
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
