"""The prediction service under load: one worker on one core, a compiled load generator on the other, state committed.

python -m benchmarks.service [--seconds 8] [--bundle artifacts/pump/bundle] [--json FILE]

Beside it, under the same load: a bare Starlette application that runs the same graph (`benchmarks/service_bare.py`),
and the same models in Keras, xgboost and scikit-learn behind FastAPI (`benchmarks/usual_service.py`, for which the
pipeline's artifacts are needed). CPU is that of the worker: other work on the computer matters less to it. Needs gcc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import measure

MACHINES = 256
START = 1_767_225_600  # 2026-01-01
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """`requests` a second are prepared for; `rate` 0 is a closed loop. `rows`: observations in one request."""

    name: str
    connections: int
    rate: float
    rows: int = 1
    kind: str = "newest"  # newest (stored), single (not stored), history, columns
    prepared: int = 4000


CASES = (
    Case("newest, stored, closed loop", 16, 0, prepared=3000),
    Case("newest, stored, 200 a second", 16, 200, prepared=200),
    Case("single, not stored, closed loop", 16, 0, kind="single", prepared=5000),
    Case("history of 30, closed loop", 16, 0, rows=30, kind="history", prepared=800),
    Case("1,000 machines, stored, closed loop", 1, 0, rows=1000, kind="columns", prepared=40),
)
BARE = Case("bare Starlette, not stored, closed loop", 16, 0, kind="single", prepared=6000)
USUAL = Case("Keras, sklearn, xgboost: FastAPI, closed loop", 16, 0, kind="usual", prepared=400)
OTHERS = (BARE, USUAL)
NEWEST, OPEN, SINGLE, HISTORY, COLUMNS = (case.name for case in CASES)
# Case, figure, whether it is to be at least or at most so much, and what it is of.
TARGETS = (
    (NEWEST, "requests", ">=", 800, "requests/s"),
    (NEWEST, "p99", "<=", 60, "ms, p99"),
    (OPEN, "p50", "<=", 3, "ms, p50"),
    (OPEN, "p99", "<=", 25, "ms, p99"),
    (HISTORY, "requests", ">=", 200, "requests/s"),
    (COLUMNS, "rows", ">=", 10_000, "observations/s"),
)
FORMS = {"requests": ",.0f", "rows": ",.0f", "p50": ".1f", "p99": ".1f", "cpu": ".3f"}
WARM = 2.0  # seconds of load before each case, not counted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="of load for each figure (8)")
    parser.add_argument("--bundle", type=Path, default=ROOT / "artifacts/pump/bundle")
    parser.add_argument("--without-usual", action="store_true", help="leave Keras, scikit-learn and xgboost out")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    contract = json.loads((options.bundle / "manifest.json").read_text())["contract"]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        load = Load.built(Path(folder), contract, options.seconds)
        with _service(Path(folder), options.bundle, contract["fleet"]) as (port, key):
            for case in CASES:
                results[case.name] = load.measure(case, port, key)
        with _bare(options.bundle) as port:
            results[BARE.name] = load.measure(BARE, port)
        if not options.without_usual:
            with _usual(contract["fleet"]) as port:
                results[USUAL.name] = load.measure(USUAL, port)
    targets = [
        {"case": case, "figure": unit, "rule": rule, "target": target, "measured": results[case][name]}
        | {"met": results[case][name] >= target if rule == ">=" else results[case][name] <= target}
        for case, name, rule, target, unit in TARGETS
    ]
    _print(results, targets)
    about = measure.about("onnxruntime", "numpy", "uvicorn", "starlette", "bentoml")
    measure.write(options.json, {"about": about, "results": results, "targets": targets})


def _print(results: dict[str, dict[str, Any]], targets: Sequence[dict[str, Any]]) -> None:
    head = ["one worker on one core", "requests/s", "rows/s", "p50 ms", "p99 ms", "CPU ms", "failed"]
    rows = [
        [name, *(f"{r[each]:{form}}" for each, form in FORMS.items()), str(r["failed"])] for name, r in results.items()
    ]
    print(measure.table(head, rows), end="\n\n")
    for other in OTHERS:
        if other.name in results:
            for name in (SINGLE, NEWEST):
                ratio = results[name]["requests"] / results[other.name]["requests"]
                cpu = results[other.name]["cpu"] / results[name]["cpu"]
                print(f"{ratio:6.2f} × (by CPU {cpu:.2f} ×) {other.name}: {name}")
    print()
    for each in targets:
        state = "met   " if each["met"] else "MISSED"
        told = f"{each['measured']:,.4g} {each['figure']} ({each['rule']} {each['target']:,})"
        print(f"{state} {each['case']}: {told}")


@dataclass
class Load:
    """The load generator, and what it has sent so far: each twin goes on in time, from case to case."""

    program: Path
    contract: dict[str, Any]
    seconds: float
    sent: int = 0  # minutes that twins have gone on

    @classmethod
    def built(cls, folder: Path, contract: dict[str, Any], seconds: float) -> Load:
        program, source = folder / "http_load", ROOT / "benchmarks/http_load.c"
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", str(program), str(source)], check=True)
        return cls(program, contract, seconds)

    def measure(self, case: Case, port: int, key: str = "") -> dict[str, Any]:
        """Once to warm up, then counted."""
        self._run(case, port, key, WARM)
        worker = _listener(port)
        before = worker.cpu_times()
        told = self._run(case, port, key, self.seconds)
        after = worker.cpu_times()
        used = after.user + after.system - before.user - before.system
        speed = told["answered"] / told["seconds"]
        figures = {name: told[name] for name in ("p50", "p99", "worst", "failed")}
        return {"requests": speed, "rows": speed * case.rows, "cpu": 1e3 * used / told["answered"], **figures}

    def _run(self, case: Case, port: int, key: str, seconds: float) -> dict[str, Any]:
        count = int(case.prepared * seconds)
        data = b"".join(_requests(case, count, self.sent, self.contract, key))
        self.sent += count * case.rows
        command = ["taskset", "-c", "1", str(self.program), str(port), str(case.connections), str(case.rate)]
        done = subprocess.run([*command, str(seconds)], input=data, stdout=subprocess.PIPE, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        return told


def _requests(case: Case, count: int, offset: int, contract: dict[str, Any], key: str) -> Iterator[bytes]:
    """Connection c gets request c, c + connections …: a machine stays with its connection."""
    # Each channel in the middle of its range.
    readings = {each["name"]: sum(each["range"]) / 2 for each in contract["channels"]}
    for number in range(count):
        time_ = START + (offset + number * case.rows) * 60
        body: dict[str, Any] = {"fleet": contract["fleet"]}
        if case.kind == "columns":
            columns = {name: [value] * case.rows for name, value in readings.items()}
            names = [f"m{i}" for i in range(case.rows)]
            body |= {"continue": True, "columns": {"asset": names, "time": [time_] * case.rows, "readings": columns}}
        else:
            body["observations"] = [{"time": time_ + 60 * row, "readings": readings} for row in range(case.rows)]
        if case.kind in ("newest", "usual"):
            body |= {"asset": f"m{number % MACHINES}", "continue": True}
        data = json.dumps(body).encode()
        head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(data)}\r\nAuthorization: Bearer {key}\r\n\r\n"
        whole = head.encode() + data
        yield struct.pack("<I", len(whole)) + whole


@contextlib.contextmanager
def _service(folder: Path, bundle: Path, fleet: str) -> Iterator[tuple[int, str]]:
    from serving.api.keys import create_key
    from serving.database.engine import Database
    from serving.database.schema import upgrade
    from serving.database.settings import DatabaseSettings
    from serving.registry.audit import Act
    from serving.registry.owners import register

    (folder / "centre.toml").write_text(
        '[database]\nurl = "sqlite:///centre.db"\n'
        f'[service.models]\nfolders = ["{bundle.absolute()}"]\n'
        "[service.limits]\nrate = 1000000\nburst = 1000000\n"
    )
    database = Database(DatabaseSettings(url="sqlite:///centre.db", folder=folder))
    upgrade(database)
    act = Act("benchmark", 1)
    with database.write() as connection:
        for number in range(1000):
            register(connection, act, f"m{number}", fleet)
        key = create_key(connection, act, "benchmark", ["read", "observe"], ["*"])
    database.close()
    environment = {"OVERHAUL_CENTRE": str(folder / "centre.toml"), "BENTOML_HOME": str(folder / "home")}
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    with _running([bentoml, "serve", "serving.service:Overhaul", "-p"], environment, "/readyz") as port:
        yield port, key


@contextlib.contextmanager
def _bare(bundle: Path) -> Iterator[int]:
    environment = {"BARE_BUNDLE": str(bundle.absolute())}
    command = [sys.executable, "-m", "uvicorn", "benchmarks.service_bare:app", "--no-access-log", "--port"]
    with _running(command, environment, "/") as port:
        yield port


@contextlib.contextmanager
def _usual(fleet: str) -> Iterator[int]:
    command = [sys.executable, "-m", "uvicorn", "benchmarks.usual_service:app", "--no-access-log", "--port"]
    with _running(command, {"USUAL_FLEET": fleet}, "/openapi.json") as port:
        yield port


@contextlib.contextmanager
def _running(command: Sequence[str], environment: dict[str, str], path: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    everything, log = {**os.environ, **environment}, tempfile.TemporaryFile()  # noqa: SIM115 closed below
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command, str(port)], cwd=ROOT, env=everything, stdout=subprocess.DEVNULL, stderr=log
    )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
                break
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    break
            except OSError:
                pass
            if time.monotonic() > deadline or process.poll() is not None:
                log.seek(0)
                raise SystemExit(f"{command[0]} did not start:\n{log.read().decode(errors='replace')[-4000:]}")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _listener(port: int) -> psutil.Process:
    """The worker: of the processes that hold the port, the youngest."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(each.laddr.port == port and each.status == "LISTEN" for each in process.net_connections()):
                found.append(process)
    return max(found, key=lambda process: process.create_time())


if __name__ == "__main__":
    main()
