"""A process that puts numbered Works into a journal until it is ended by force, and what must be found afterwards.

Work number n is the same in every run (of one seed) and has cursor n, so that the cursor tells how many are there. What
was acknowledged is written to the file `told`: by the journal for its sources ("w 17"), by the centre for messages
("m 2 31": lane 2 up to seq 31) before the journal hears of it; "p 2 40": a message with that seq was read, and may have
been published.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.journal import committer, database, wal
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.spool import ROW
from edge_runtime.journal.work import Checkpoint, Entry, Recovered, Work

SETTINGS = JournalSettings(commit_after=0.02, commit_messages=4, history_bytes=20_000)
SPOOL = SpoolSettings(max_bytes=60_000)


def works(seed: int) -> Iterator[Work]:
    """Endless, always the same."""
    rng, position = random.Random(seed), 0
    for number in itertools.count(1):
        entries = []
        for _ in range(rng.choice((0, 1, 1, 1, 3))):
            position += 1
            kind = rng.choice(("samples", "observations"))
            entries.append(Entry(position, kind, "pump", "model", rng.randbytes(rng.choice((20, 200, 3000)))))
        messages = [
            Outgoing("observation", rng.choice(list(Lane)), None, number, number, rng.randbytes(rng.choice((50, 2000))))
            for _ in range(rng.choice((0, 0, 1, 1, 2, 5)))
        ]
        checkpoint = None
        if number % 13 == 0:
            parts = {"pump/fleet": rng.randbytes(rng.choice((100, 20_000))), "fixed": b"the same"}
            checkpoint = Checkpoint(position, parts if number % 2 else {**parts, "sometimes": b"there"})
        yield Work(entries, messages, [], number, checkpoint, rng.random() < 0.2)


class Teller:
    """A source whose receipts are the numbers of Works; several threads may tell."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(self, receipts: list[int]) -> None:
        self.tell("".join(f"w {number}\n" for number in receipts))

    def tell(self, text: str) -> None:
        while True:
            try:
                os.write(self._descriptor, text.encode())
                return
            except OSError:  # the disk is full for a moment
                time.sleep(0.002)


def publish(journal: Journal, teller: Teller) -> None:
    """Read as the link does, all the time."""
    after = dict.fromkeys(Lane, 0)
    while True:
        for lane in Lane:
            for spooled in journal.read(lane, after[lane], 100)[-1:]:
                after[lane] = spooled.seq
                teller.tell(f"p {int(lane)} {spooled.seq}\n")
        time.sleep(0.0005)


def trouble(rng: random.Random) -> None:
    """The disk fails for moments, where the test has given names of files that make it do so."""
    names = [Path(os.environ[name]) for name in ("STORAGE_BROKEN", "STORAGE_FULL") if name in os.environ]
    while names:
        time.sleep(rng.uniform(0, 0.2))
        name = rng.choice(names)
        name.touch()
        time.sleep(rng.uniform(0, 0.05))
        name.unlink()


def run(folder: Path, seed: int, seconds: float) -> None:
    """Open, go on after the Works that are there, and stop without any farewell."""
    wal.COPY_FROM, wal.LARGEST, wal.EVERY = 100_000, 400_000, 0.02
    committer.FIRST_PAUSE, committer.LONGEST_PAUSE = 0.005, 0.02
    committer.RESERVE = committer.LOG_KEPT = database.LOG_KEPT = 300_000
    journal, teller = Journal(folder / "journal.db", SETTINGS, SPOOL, SystemClock()), Teller(folder / "told")
    recovered = journal.open()
    sent: Counter[Lane] = Counter()
    journal.start(lambda spooled: sent.update({m.message.lane: m.seq - sent[m.message.lane] for m in spooled}))
    threading.Thread(target=publish, args=(journal, teller), daemon=True).start()
    threading.Thread(target=trouble, args=(random.Random(seed),), daemon=True).start()
    rng, end = random.Random(seed), time.monotonic() + seconds
    print("ready", flush=True)
    for number, work in enumerate(works(seed), start=1):
        if number <= recovered.cursor:
            continue
        work.receipts = [(teller, number)]
        while not journal.submit(work):
            pass
        if rng.random() < 0.2:
            lane = rng.choice(list(Lane))
            upto = sent[lane] - rng.randint(0, 5)
            if upto > 0:
                teller.tell(f"m {int(lane)} {upto}\n")
                journal.acknowledge(recovered.epoch, lane, upto)
        time.sleep(rng.choice((0, 0, 0.001, 0.003)))
        if time.monotonic() > end:
            break
    os._exit(0)


def check(folder: Path, seed: int, told: str) -> int:
    """Open what is there and compare: the first n Works entirely, nothing else; n, at least what was `told`."""
    acknowledged, by_centre, published = 0, Counter(), Counter()
    for line in told.splitlines():
        kind, *numbers = line.split()
        if kind == "w":
            assert int(numbers[0]) > acknowledged, "acknowledged out of order"
            acknowledged = int(numbers[0])
        else:
            seqs, lane, upto = by_centre if kind == "m" else published, Lane(int(numbers[0])), int(numbers[1])
            seqs[lane] = max(seqs[lane], upto)
    journal = Journal(folder / "journal.db", SETTINGS, SPOOL, SystemClock())
    recovered = journal.open()
    try:
        assert recovered.moved_aside is None
        assert recovered.cursor >= acknowledged
        expected = list(itertools.islice(works(seed), recovered.cursor))
        _check_entries(recovered, expected)
        _check_spool(journal, expected, by_centre, published)
        _check_counts(folder / "journal.db")
    finally:
        journal.close()
    return recovered.cursor


def _check_entries(recovered: Recovered, expected: list[Work]) -> None:
    newest = next((work.checkpoint for work in reversed(expected) if work.checkpoint is not None), None)
    assert recovered.checkpoint == newest
    entries = [entry for work in expected for entry in work.entries]
    start = 0 if newest is None else newest.position
    assert list(recovered.entries) == [entry for entry in entries if entry.position > start]
    assert recovered.next_position == len(entries) + 1


def _check_spool(journal: Journal, expected: list[Work], by_centre: Counter[Lane], published: Counter[Lane]) -> None:
    for lane in Lane:
        messages = [message for work in expected for message in work.messages if message.lane == lane]
        there = {spooled.seq: spooled.message for spooled in journal.read(lane, 0, 10**6, 10**9)}
        floor = journal.floor(lane)
        assert published[lane] <= len(messages), "a seq was published that will be given to another message"
        assert all(message == messages[seq - 1] for seq, message in there.items())
        missing = set(range(floor, len(messages) + 1)) - set(there)
        assert all(seq <= by_centre[lane] for seq in missing), f"{lane.name} lost {missing}"
        assert min(there, default=floor) >= floor
        assert journal.status().dropped[lane] <= floor - 1


def _check_counts(path: Path) -> None:
    """What the ledger says is what is there."""
    connection = sqlite3.connect(path)
    ledger = dict(connection.execute("SELECT name, value FROM ledger"))
    for lane in Lane:
        table = lane.name.lower()
        count, size = connection.execute(f"SELECT count(*), total(length(body)) FROM {table}").fetchone()
        assert ledger.get(f"{table}.count", 0) == count
        assert ledger.get(f"{table}.bytes", 0) == size + count * ROW
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()


if __name__ == "__main__":
    threading.excepthook = lambda args: (sys.__excepthook__(*args[:3]), os._exit(3))
    run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
