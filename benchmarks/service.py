"""The prediction service under load: one worker on one core, a compiled load generator on the other, state committed.

python -m benchmarks.service [--seconds 10] [--bundle artifacts/pump/bundle]

Beside it a bare Starlette application that runs the same graph (`benchmarks/service_bare.py`). CPU is that of the
worker, by which other work on the computer matters less. Needs gcc and two cores.
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
    Case("newest, stored, closed loop", 16, 0),
    Case("newest, stored, 200 a second", 16, 200, prepared=200),
    Case("single, not stored, closed loop", 16, 0, kind="single"),
    Case("history of 30, closed loop", 16, 0, rows=30, kind="history", prepared=1000),
    Case("1,000 machines, stored, closed loop", 1, 0, rows=1000, kind="columns", prepared=40),
)
BARE = Case("bare Starlette, not stored, closed loop", 16, 0, kind="single", prepared=6000)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--bundle", type=Path, default=ROOT / "artifacts/pump/bundle")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        load = Path(folder) / "http_load"
        subprocess.run(
            ["gcc", "-O2", "-D_GNU_SOURCE", "-o", str(load), str(ROOT / "benchmarks/http_load.c")], check=True
        )
        channels = _channels(options.bundle)
        offset = 0
        with _service(Path(folder), options.bundle) as (port, key):
            for case in CASES:
                count = int(case.prepared * options.seconds)
                data = b"".join(_requests(case, count, offset, channels, key))
                offset += count * case.rows  # each twin goes on in time
                results.append(_measure(case, load, port, data, options.seconds))
        with _bare(options.bundle) as port:
            count = int(BARE.prepared * options.seconds)
            results.append(
                _measure(BARE, load, port, b"".join(_requests(BARE, count, 0, channels, "")), options.seconds)
            )
    _print(results)
    if options.json:
        options.json.write_text(json.dumps({"about": measure.about("numpy"), "results": results}, indent=2))


def _print(results: Sequence[dict[str, Any]]) -> None:
    print(f"{'':44}{'requests/s':>11}{'rows/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU ms':>8}{'failed':>8}")
    for each in results:
        print(
            f"{each['name']:44}{each['requests']:11.0f}{each['rows']:9.0f}{each['p50']:8.1f}{each['p99']:8.1f}"
            f"{each['cpu']:8.3f}{each['failed']:8}"
        )


def _measure(case: Case, load: Path, port: int, data: bytes, seconds: float) -> dict[str, Any]:
    worker = _listener(port)
    before = worker.cpu_times()
    command = ["taskset", "-c", "1", str(load), str(port), str(case.connections), str(case.rate), str(seconds)]
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True)
    after = worker.cpu_times()
    told = json.loads(done.stdout)
    used = after.user + after.system - before.user - before.system
    speed = told["answered"] / told["seconds"]
    return {
        "name": case.name,
        "requests": speed,
        "rows": speed * case.rows,
        "cpu": 1e3 * used / told["answered"],
        **{name: told[name] for name in ("p50", "p99", "worst", "failed")},
    }


def _requests(case: Case, count: int, offset: int, channels: Sequence[tuple[str, float]], key: str) -> Iterator[bytes]:
    """Connection c gets request c, c + connections …: a machine stays with its connection."""
    readings = dict(channels)
    for number in range(count):
        time_ = START + (offset + number * case.rows) * 60
        body: dict[str, Any] = {"fleet": "pump"}
        if case.kind == "columns":
            body |= {
                "continue": True,
                "columns": {
                    "asset": [f"m{i}" for i in range(case.rows)],
                    "time": [time_] * case.rows,
                    "readings": {name: [value] * case.rows for name, value in channels},
                },
            }
        else:
            body["observations"] = [{"time": time_ + 60 * row, "readings": readings} for row in range(case.rows)]
        if case.kind == "newest":
            body |= {"asset": f"m{number % MACHINES}", "continue": True}
        data = json.dumps(body).encode()
        head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(data)}\r\nAuthorization: Bearer {key}\r\n\r\n"
        whole = head.encode() + data
        yield struct.pack("<I", len(whole)) + whole


def _channels(bundle: Path) -> list[tuple[str, float]]:
    """Each with a value in the middle of its range."""
    contract = json.loads((bundle / "manifest.json").read_text())["contract"]
    return [(each["name"], sum(each["range"]) / 2) for each in contract["channels"]]


@contextlib.contextmanager
def _service(folder: Path, bundle: Path) -> Iterator[tuple[int, str]]:
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
            register(connection, act, f"m{number}", "pump")
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
def _running(command: Sequence[str], environment: dict[str, str], path: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    everything = {**os.environ, **environment}
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command, str(port)], cwd=ROOT, env=everything, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
                break
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    break
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise SystemExit("the service did not start")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(30)


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
