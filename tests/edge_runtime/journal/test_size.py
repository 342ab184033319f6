"""What the journal takes: of the disk, of memory, of the flash's life."""

import time

import psutil
import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.journal import committer, wal
from edge_runtime.journal.wear import MINUTE, Wear
from edge_runtime.journal.work import Checkpoint, Work
from tests.edge_runtime.journal.tools import FakeClock, entry, make, message

MIB = 1 << 20
FOREVER = 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def submit(journal, work):
    while not journal.submit(work, FOREVER):
        pass


def test_the_file_stays_within_what_the_settings_allow(path):
    journal = make(path, commit_after=0.01, max_bytes=2 * MIB, history_bytes=MIB)
    journal.open()
    journal.start(lambda _: None)
    for position in range(1, 3001):  # 9 MiB of messages of all sizes, 6 MiB of entries
        work = Work([entry(position, b"x" * 2000)], [message(Lane.BACKFILL, b"y" * size) for size in (50, 350, 2600)])
        if position % 100 == 0:
            work.checkpoint = Checkpoint(position, {"a": b"z" * 100_000})
        submit(journal, work)
        if position % 20 == 0:
            journal.flush()
    journal.flush()
    _, size, _ = journal.backlog()[Lane.BACKFILL]
    assert 1.9 * MIB < size <= 2 * MIB
    assert journal.status().database_bytes < 1.25 * 3 * MIB + 500_000
    journal.close()
    assert path.stat().st_size < 1.25 * 3 * MIB + 500_000


def test_the_log_stays_small_though_works_never_pause(path, monkeypatch):
    for name, value in (("COPY_FROM", MIB // 4), ("LARGEST", MIB), ("LOOK_AFTER", MIB // 8), ("EVERY", 0.01)):
        monkeypatch.setattr(wal, name, value)
    monkeypatch.setattr(committer, "GROUP", MIB // 4)
    journal = make(path, commit_after=0.001, commit_messages=1)
    journal.open()
    journal.start(lambda _: None)
    largest, files = 0, journal._committer._keeper._files
    for position in range(1, 1501):  # 12 MiB
        submit(journal, Work([entry(position, b"x" * 8000)], urgent=position % 50 == 0))
        journal.read(Lane.LIVE, 0, 10)
        largest = max(largest, files.used()[1])
    journal.flush()
    assert largest < 2 * MIB
    journal.close()


def test_reading_a_long_backlog_takes_no_memory(path):
    journal = make(path)
    journal.open()
    journal.start(lambda _: None)
    for _ in range(200):
        submit(journal, Work(messages=[message(Lane.BACKFILL, b"b" * 60)] * 1000))
    journal.flush()
    process, after = psutil.Process(), 0
    journal.read(Lane.BACKFILL, 0, 256)
    before = process.memory_info().rss
    while found := journal.read(Lane.BACKFILL, after, 256):
        assert found[0].seq == after + 1
        after = found[-1].seq
    assert after == 200_000
    assert process.memory_info().rss - before < 10 * MIB
    assert journal.backlog()[Lane.BACKFILL][0] == 200_000
    journal.close()
    began = time.process_time()
    again = make(path)
    again.open()
    assert time.process_time() - began < 1  # a backlog is not counted through at the start
    again.close()


def test_bytes_written_are_more_than_what_was_put_in(path):
    journal = make(path)
    journal.open()
    journal.start(lambda _: None)
    for position in range(1, 101):
        submit(journal, Work([entry(position, b"x" * 10_000)]))
    journal.flush()
    status = journal.status()
    journal.close()
    if status.bytes_written == 0:
        pytest.skip("the kernel counts no writing here, as on a disk in memory")
    assert 1_000_000 < status.bytes_written < 20 * MIB
    assert status.bytes_per_day > status.bytes_written


def test_the_rate_a_day(monkeypatch):
    clock, written = FakeClock(), [0]
    wear = Wear(clock)
    monkeypatch.setattr(wear, "bytes", lambda: written[0])
    assert wear.per_day() == 0
    written[0] = 1000
    assert wear.per_day() == 1000 * 1440  # at least a minute, so that the start is not blown up
    for _ in range(3 * 144):
        clock.now += 10 * MINUTE
        written[0] += 70
        wear.per_day()
    assert wear.per_day() == pytest.approx(70 * 144, rel=0.02)  # what was three days ago does not count
    assert len(wear._samples) <= 146
