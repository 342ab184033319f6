"""The gateway under load: throughput beside a bare paho subscriber, latency of alarms, 5,000 machines, growth.

python -m benchmarks.gateway [--only throughput latency fleet growth] [--json FILE] [--plot PNG]

The gateway has core 0 to itself; broker, publisher and a stand-in for the centre's hub share core 1. Upstream, journal
and acknowledgements are on, as they are in the field.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import measure
from benchmarks.load import Plan, Progress, Stream, bodies_of, plan_json
from edge_runtime.bundle import GOLDEN, MANIFEST, TWIN, write_bundle
from tests.edge_runtime.broker import MOSQUITTO, Broker, running
from tests.edge_runtime.hub import Hub

PARTS = ("throughput", "latency", "fleet", "growth")
PUMP, TURBOFAN = Path("artifacts/pump/bundle"), Path("artifacts/turbofan-FD001/bundle")
PUMPS = 50
PAYLOAD = 200
FLEET = 5000
GROWTH = (10, 100, 1000, 2000, 5000, 10_000)
# iotcore lets 100 messages of a connection be without an answer: with a slow disk that is its limit, not the gateway's.
SLOW_DISK = {"iotcore": 1000.0}
PROBE_RATE = 40.0  # messages a second, each of which is an alarm
WARM = 3.0  # seconds before anything is measured
UNDER_TEST, OTHERS = {0}, {1}

CONFIG = """
[gateway]
id = "gw-bench"
site = "bench"
data = "{data}"
machines = "{data}/../machines.csv"
[bundles]
{bundles}
[link]
url = "mqtt://127.0.0.1:{port}"
[http]
enabled = false
[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://127.0.0.1:{port}"
topics = [{{ topic = "plant/{{asset}}/readings"{unit} }}]
"""


@dataclass(frozen=True)
class Window:
    """What happened between two moments. `cpu`: seconds of the process under test; `rss`: its most, MiB."""

    seconds: float
    messages: int
    observations: int
    cpu: float
    rss: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu / self.seconds

    @property
    def cost(self) -> float:
        """µs of CPU a message."""
        return 1e6 * self.cpu / max(self.messages, 1)


class Bench:
    """A folder with a broker, a hub and whatever is under test."""

    def __init__(self, folder: Path, kind: str = "iotcore") -> None:
        self.folder, self.kind = folder, kind

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        with running(self.kind, self._new("broker")) as started:
            yield started

    @contextmanager
    def hub(self, broker: Broker) -> Iterator[Hub]:
        with Hub(broker.url, self._new("hub")) as started:
            yield started

    @contextmanager
    def under_test(self, what: str, where: str, environment: dict[str, str] | None = None) -> Iterator[Subject]:
        progress = self._new("progress") / "counts"
        counts = Progress(progress, make=True)
        command = [sys.executable, "-m", "benchmarks.edge", what, where, str(progress)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, UNDER_TEST),
        )
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 60)
            if not ready or process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{what} did not start")
            yield Subject(process, counts, progress)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(60)
            finally:
                process.kill()

    def config(self, broker: Broker, bundles: dict[str, Path], machines: dict[str, str], unit: str = "") -> Path:
        """A gateway.toml; `machines` asset → class."""
        folder = self._new("gateway")
        (folder / "machines.csv").write_text("asset,class\n" + "".join(f"{a},{c}\n" for a, c in machines.items()))
        lines = "\n".join(f'{name} = "{path.absolute()}"' for name, path in bundles.items())
        path = folder / "gateway.toml"
        told = f', time_unit = "{unit}"' if unit else ""
        path.write_text(CONFIG.format(data=folder / "data", bundles=lines, port=broker.port, unit=told))
        return path

    def _new(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


@dataclass
class Subject:
    """The process under test."""

    process: subprocess.Popen[str]
    progress: Progress
    path: Path

    def window(self, seconds: float) -> Window:
        """What happens in the next `seconds`."""
        process = psutil.Process(self.process.pid)
        began, before, rss = time.monotonic(), self._now(process), 0.0
        while time.monotonic() < began + seconds:
            time.sleep(min(0.25, seconds))
            rss = max(rss, process.memory_info().rss / 2**20)
        after = self._now(process)
        cpu, messages, observations = (b - a for a, b in zip(before, after, strict=True))
        return Window(time.monotonic() - began, int(messages), int(observations), cpu, rss)

    def _now(self, process: psutil.Process) -> tuple[float, int, int]:
        times = process.cpu_times()
        return times.user + times.system, self.progress[0], self.progress[2]

    def drain(self, sent: int, patience: float = 20.0) -> int:
        """Messages that were sent and are not done with, once nothing happens any more."""
        deadline = time.monotonic() + patience
        while self.progress[0] < sent and time.monotonic() < deadline:
            time.sleep(0.05)
        return sent - self.progress[0]


class Load:
    """The publisher's process."""

    def __init__(self, plan: Plan) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say(plan_json(plan))
        self._hear()

    def go(self) -> Load:
        self._say("go")
        return self

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._hear())
        self.process.wait()
        return found

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


# ---------------------------------------------------------------------- what is sent


def golden_readings(bundle: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Channels, and recorded readings of them."""
    contract = json.loads((bundle / MANIFEST).read_bytes())["contract"]
    with np.load(bundle / GOLDEN) as arrays:
        readings = arrays["in.readings"]
    return [channel["name"] for channel in contract["channels"]], readings[~np.isnan(readings).any(axis=1)]


def pump_stream(rate: float) -> Stream:
    """JSON of 200 bytes, about: each message has the first or the last so many channels."""
    channels, readings = golden_readings(PUMP)
    most = next(n for n in range(1, 99) if len(bodies_of(channels[:n], readings[:1, :n])[0]) + 30 >= PAYLOAD)
    first = bodies_of(channels[:most], readings[:10, :most])
    last = bodies_of(channels[-most:], readings[:10, -most:])
    bodies = tuple(body for pair in zip(first, last, strict=True) for body in pair)
    return Stream(tuple(f"pump-{i}" for i in range(PUMPS)), bodies, rate)


def quick_pump(folder: Path) -> Path:
    """The pump's twin with an observation a second, so that it has something to do."""
    manifest = json.loads((PUMP / MANIFEST).read_bytes())
    contract = manifest["contract"]
    contract["time"] |= {"interval": 1.0, "assemble": True}
    with np.load(PUMP / GOLDEN) as arrays:
        golden = {name: arrays[name] for name in arrays.files}
    twin = (PUMP / TWIN).read_bytes()
    write_bundle(folder, twin, golden, contract, models={}, quality={}, provenance={})
    return folder


def probe(folder: Path) -> Path:
    """A twin whose alarm follows at once: level 0 with event 1, level 1 with the next observation."""
    from tests.edge_runtime.tiny import tiny_bundle

    time_of = {"unit": "s", "interval": 1, "assemble": False, "tick": 600, "max_gap": 86400}
    return tiny_bundle(folder, time=time_of, asset_class="probe")


# ---------------------------------------------------------------------- the parts


def throughput(folder: Path, runs: int, seconds: float) -> dict[str, Any]:
    """The reader is never waited for and never flooded: what it has done with lets as many new messages out."""
    bench = Bench(folder)
    pump = quick_pump(folder / "pump")
    stream = pump_stream(1000.0)
    found: dict[str, list[Window]] = {"gateway": [], "subscriber": []}
    lost = {"gateway": 0, "subscriber": 0}

    def once(what: str, where: Callable[[Broker], str]) -> None:
        with bench.broker() as broker, bench.hub(broker), bench.under_test(what, where(broker)) as subject:
            load = Load(Plan(broker.port, (stream,), WARM + seconds + 1, str(subject.path)))
            load.go()
            time.sleep(WARM)
            found[what].append(subject.window(seconds))
            lost[what] += subject.drain(load.result()["sent"])

    machines = dict.fromkeys(stream.machines, "pump")
    for _ in range(runs):
        once("subscriber", lambda broker: str(broker.port))
        once("gateway", lambda broker: str(bench.config(broker, {"pump": pump}, machines)))
    rates = {what: [window.rate for window in windows] for what, windows in found.items()}
    costs = {what: [window.cost for window in windows] for what, windows in found.items()}
    size = statistics.median(len(body) + 30 for body in stream.bodies)
    return {
        "payload_bytes": size,
        "rate": {what: spread(values) for what, values in rates.items()},
        "cpu_us_per_message": {what: spread(values) for what, values in costs.items()},
        "share_of_core": {what: spread([w.share for w in windows]) for what, windows in found.items()},
        "ratio": statistics.median(rates["gateway"]) / statistics.median(rates["subscriber"]),
        "ratio_by_cpu": statistics.median(costs["subscriber"]) / statistics.median(costs["gateway"]),
        "observations_per_second": spread([w.observations / w.seconds for w in found["gateway"]]),
        "lost": lost,
    }


def latency(folder: Path, kind: str, load: float, seconds: float, fsync_ms: float) -> dict[str, Any]:
    """From the intended send time of a sample to the alarm it brings about, received by a subscriber."""
    from tests.edge_runtime.journal.storage import environment

    bench = Bench(folder, kind)
    name = f"{kind}-{fsync_ms:g}"
    bundles = {"pump": quick_pump(folder / f"pump-{name}"), "probe": probe(folder / f"probe-{name}")}
    pumps = pump_stream(load)
    probes = Stream(("probe-1", "probe-2"), ('"flow":1.0,"event":0',), PROBE_RATE, events=True)
    machines = dict.fromkeys(pumps.machines, "pump") | dict.fromkeys(probes.machines, "probe")
    with bench.broker() as broker, bench.hub(broker):
        config = bench.config(broker, bundles, machines)
        disk = environment(config.parent, fsync_ms=fsync_ms) if fsync_ms else None
        with bench.under_test("gateway", str(config), disk) as subject, alarms(broker) as heard:
            sending = Load(Plan(broker.port, (pumps, probes), WARM + seconds))
            sending.go()
            time.sleep(WARM)
            heard.clear()
            window = subject.window(seconds - 0.5)
            taken = list(heard)
            sent = sending.result()
            lost = subject.drain(sent["sent"])
    return {
        "broker": kind,
        "load": load,
        "fsync_ms": fsync_ms,
        "alarms": len(taken),
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
        "max_ms": max(taken),
        "share_of_core": window.share,
        "publisher_late_ms": sent["late_ms"],
        "lost": lost,
    }


@contextmanager
def alarms(broker: Broker) -> Iterator[list[float]]:
    """Milliseconds from the time of an observation, its intended send time, to the arrival of its alarm."""
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    heard: list[float] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_connect = lambda c, *_: c.subscribe("overhaul/1/+/+/up/alarm/#", 1)
    client.on_message = lambda _c, _u, m: heard.append((time.time_ns() - json.loads(m.payload)["body"]["t"]) / 1e6)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def fleet(folder: Path, machines: int, seconds: float) -> dict[str, Any]:
    """`machines` turbofans, each with one observation a second in a message of its own."""
    bench = Bench(folder)
    channels, readings = golden_readings(TURBOFAN)
    assets = tuple(f"engine-{i}" for i in range(machines))
    # A cycle a second: the publisher's clock in nanos is 1e9 cycles in nanos.
    stream = Stream(assets, bodies_of(channels, readings[:5]), float(machines))
    with bench.broker() as broker, bench.hub(broker) as hub:
        config = bench.config(broker, {"turbofan": TURBOFAN}, dict.fromkeys(assets, "turbofan"))
        with bench.under_test("gateway", str(config)) as subject:
            start = subject.progress[3] / 1e6
            sending = Load(Plan(broker.port, (stream,), WARM + seconds)).go()
            time.sleep(WARM)
            window = subject.window(seconds - 1)
            sent = sending.result()
            lost = subject.drain(sent["sent"])
        messages, rows = len(hub.messages("observation", "prognosis")), hub.query("SELECT count(*) FROM rows")[0][0]
    return {
        "machines": machines,
        "payload_bytes": len(stream.bodies[0]) + 30,
        "observations_per_second": window.observations / window.seconds,
        "share_of_core": window.share,
        "cpu_us_per_observation": 1e6 * window.cpu / max(window.observations, 1),
        "rss_mib": window.rss,
        "start_seconds": start,
        "blocks_at_hub": messages,
        "rows_at_hub": rows,
        "lost": lost,
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


# ---------------------------------------------------------------------- together


def run(parts: list[str], options: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, OTHERS)
    os.nice(options.nice)
    result: dict[str, Any] = measure.about("onnxruntime", "numpy", "psutil")
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        if "throughput" in parts:
            result["throughput"] = throughput(folder, options.runs, options.seconds)
        if "latency" in parts:
            load = options.load or 0.5 * result["throughput"]["rate"]["gateway"]["median"]
            kinds = ["iotcore", "mosquitto"] if MOSQUITTO else ["iotcore"]
            tries = [(kind, load, 0.0) for kind in kinds]
            tries += [(kind, min(load, SLOW_DISK.get(kind, load)), 20.0) for kind in kinds]
            result["latency"] = [latency(folder, kind, rate, 3 * options.seconds, ms) for kind, rate, ms in tries]
        if "fleet" in parts:
            # Long enough for a checkpoint of all states.
            result["fleet"] = fleet(folder, FLEET, max(65.0, options.seconds))
        if "growth" in parts:
            result["growth"] = [fleet(folder, machines, options.seconds) for machines in GROWTH]
    return result


def report(result: dict[str, Any]) -> str:
    lines: list[str] = []
    if found := result.get("throughput"):
        rows = [
            [
                what,
                f"{found['rate'][what]['median']:,.0f}/s",
                f"{found['rate'][what]['least']:,.0f} … {found['rate'][what]['most']:,.0f}",
                f"{found['cpu_us_per_message'][what]['median']:.1f} µs",
                f"{found['share_of_core'][what]['median']:.0%}",
                str(found["lost"][what]),
            ]
            for what in ("subscriber", "gateway")
        ]
        head = [f"{found['payload_bytes']:.0f} bytes of JSON", "messages", "of all runs", "CPU each", "of core", "lost"]
        lines += [measure.table(head, rows)]
        lines += [f"gateway / subscriber: {found['ratio']:.2f} by rate, {found['ratio_by_cpu']:.2f} by CPU time", ""]
    if found := result.get("latency"):
        rows = [
            [
                f"{one['broker']}, {one['load']:,.0f}/s, fsync + {one['fsync_ms']:g} ms",
                *(f"{one[name]:.1f} ms" for name in ("p50_ms", "p99_ms", "max_ms")),
                f"{one['share_of_core']:.0%}",
                str(one["lost"]),
            ]
            for one in found
        ]
        lines += [measure.table(["sample to alarm", "p50", "p99", "most", "of core", "lost"], rows), ""]
    fleets = [*([result["fleet"]] if "fleet" in result else []), *result.get("growth", [])]
    if fleets:
        rows = [
            [
                f"{one['machines']:,} at 1 Hz",
                f"{one['observations_per_second']:,.0f}/s",
                f"{one['share_of_core']:.0%}",
                f"{one['cpu_us_per_observation']:.0f} µs",
                f"{one['rss_mib']:.0f} MiB",
                f"{one['start_seconds']:.2f} s",
                str(one["lost"]),
            ]
            for one in fleets
        ]
        lines += [measure.table(["turbofans", "advanced", "of core", "CPU each", "resident", "start", "lost"], rows)]
    return "\n".join(lines)


def plot(growth: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    machines = [one["machines"] for one in growth]
    figure, share = pyplot.subplots(figsize=(6, 4))
    share.plot(machines, [100 * one["share_of_core"] for one in growth], "o-", color="C0")
    share.set(xscale="log", xlabel="turbofans at 1 Hz, one message an observation", ylim=(0, None))
    share.set_ylabel("% of one core", color="C0")
    rss = share.twinx()
    rss.plot(machines, [one["rss_mib"] for one in growth], "s--", color="C1")
    rss.set_ylabel("MiB resident", color="C1")
    rss.set_ylim(0, None)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=int, default=5, help="of the throughput (5)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured in each run (10)")
    parser.add_argument("--load", type=float, help="messages a second for the latency (half the throughput)")
    parser.add_argument("--nice", type=int, default=0, help="of all that is run: -20 on a busy machine, as root (0)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--plot", type=Path, help="draw the growth there, a PNG")
    options = parser.parse_args(arguments)
    parts = list(options.only)
    if "latency" in parts and "throughput" not in parts and options.load is None:
        parser.error("the latency is measured at half the throughput: measure that too, or name a --load")
    needed = {PUMP: {"throughput", "latency"}, TURBOFAN: {"fleet", "growth"}}
    for bundle, users in needed.items():
        if users & set(parts) and not (bundle / MANIFEST).exists():
            raise SystemExit(f"{bundle} is missing: make it with `dvc repro export@{bundle.parent.name}`")
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("this needs two cores: one for the gateway, one for the rest")
    measure.single_threaded()
    result = run(parts, options)
    print(report(result))
    measure.write(options.json, result)
    if options.plot and "growth" in result:
        plot(result["growth"], options.plot)


if __name__ == "__main__":
    main()
