"""How long an alarm waits for its commit while other Works come, on a disk whose syncs take a while.

python -m benchmarks.journal [--sync 20] [--rates 1 50 500 3000] [--seconds 60] [--serial]

`--serial` lets one sync run at a time, as `synchronous=FULL` does. Of each run: milliseconds from handing in an alarm
to its message being durable (5 a second, at random moments); CPU of the process and bytes to the disk for each Work.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane, Outgoing, Spooled
from edge_runtime.journal import sync
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.work import Entry, Work
from tests.edge_runtime.journal import storage

ALARMS = 5.0  # a second


class Source:
    """Has receipts that nobody waits for."""

    def acknowledge(self, _: object) -> None:
        pass


def work(position: int, receipt: object = None) -> Work:
    """One observation; with an alarm, if it has no receipt."""
    entry = Entry(position, "observations", "pump", "m" * 64, b"x" * 150)
    if receipt is not None:
        return Work([entry], [], [(receipt, position)])
    return Work([entry], [Outgoing("alarm", Lane.ALARM, "p1", position, 0, b"y" * 400)], urgent=True)


def measure(folder: Path, rate: float, seconds: float) -> dict[str, float]:
    handed_in: dict[int, float] = {}
    waits: list[float] = []

    def committed(messages: list[Spooled]) -> None:
        now = time.perf_counter()
        waits.extend(now - handed_in.pop(spooled.message.t) for spooled in messages)

    journal, source, rng = (
        Journal(folder / "journal.db", JournalSettings(), SpoolSettings(), SystemClock()),
        Source(),
        random.Random(0),
    )
    journal.open()
    journal.start(committed)
    position, cpu, start = 0, time.process_time(), time.perf_counter()
    ordinary, alarm = start, start + rng.expovariate(ALARMS)
    while (due := min(ordinary, alarm)) < start + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        position += 1
        if due == alarm:
            handed_in[position] = time.perf_counter()
            journal.submit(work(position))
            alarm += rng.expovariate(ALARMS)
        else:
            journal.submit(work(position, source))
            ordinary += 1 / rate
    journal.flush()
    cpu = time.process_time() - cpu
    written = journal.status().bytes_written
    journal.close()
    waits.sort()
    at = {f"p{share * 100:g}": round(waits[int(share * len(waits))] * 1e3, 1) for share in (0.5, 0.9, 0.99)}
    return {
        "works/s": rate,
        "alarms": len(waits),
        **at,
        "max": round(waits[-1] * 1e3, 1),
        "cpu_us": round(cpu / position * 1e6),
        "bytes": round(written / position),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sync", type=float, default=20.0, help="milliseconds that a sync takes longer")
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 50, 500, 3000], help="Works a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--serial", action="store_true", help="one sync at a time")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to measure")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        if options.serial:
            sync.Syncer._due = lambda s: not s.broken and s._written > s._begun and not s._running
        print(json.dumps(measure(options.here, options.rates[0], options.seconds)), flush=True)
        return
    for rate in options.rates:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            again = ["--here", name, "--rates", str(rate), "--seconds", str(options.seconds)]
            again += ["--serial"] if options.serial else []
            environment = storage.environment(Path(name), fsync_ms=options.sync)
            subprocess.run([sys.executable, "-m", "benchmarks.journal", *again], env=environment, check=True)


if __name__ == "__main__":
    main()
