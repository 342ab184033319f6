"""Disks that are full, or fail for a while: the journal goes on, says so, acknowledges nothing it has not, recovers."""

import errno
import os
import sqlite3
import subprocess
import time

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.journal import committer, database, readers, wal
from edge_runtime.journal.work import Checkpoint, Work
from tests.edge_runtime.journal.tools import Receiver, entry, make, message, seqs

MIB = 1 << 20
FOREVER = 20


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A file system of 8 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    for module, name, value in (
        (committer, "RESERVE", 2 * MIB),
        (committer, "GROUP", MIB // 2),
        (committer, "STEP", MIB // 4),
        (committer, "LOG_KEPT", MIB),
        (committer, "ROOM", MIB // 4),
        (committer, "LONGEST_PAUSE", 0.2),
        (database, "LOG_KEPT", MIB),
        (wal, "COPY_FROM", MIB // 2),
        (wal, "LARGEST", MIB),
        (wal, "LOOK_AFTER", MIB // 8),
        (wal, "EVERY", 0.02),
    ):
        monkeypatch.setattr(module, name, value)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def until(condition):
    end = time.monotonic() + FOREVER
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def submit(journal, work):
    """As the engine does."""
    end = time.monotonic() + FOREVER
    while not journal.submit(work, 0.1):
        assert time.monotonic() < end


def fill(path):
    """What somebody else leaves on the disk: all that is free."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                pass


def test_a_full_disk_costs_raw_messages_and_history_and_no_acknowledged_entry(small_disk):
    journal, source = make(small_disk / "journal.db", commit_after=0.01), Receiver()
    epoch = journal.open().epoch
    journal.start(lambda _: None)
    position = 0
    for _ in range(20):  # 2 MiB of raw messages and history to be dropped later
        position += 1
        work = Work([entry(position, b"x" * 50_000)], [message(Lane.RAW, b"y" * 50_000), message(Lane.ALARM)])
        submit(journal, work)
    submit(journal, Work(checkpoint=Checkpoint(position, {"a": b"state"})))
    journal.flush()
    assert not journal.status().disk_full

    fill(small_disk / "others")
    if journal.status().disk_full:  # it noticed at once, and what it gave up was taken too
        os.truncate(small_disk / "others", (small_disk / "others").stat().st_size - 2 * MIB)
    for _ in range(300):  # 3 MiB in all: more than the log holds
        position += 1
        submit(journal, Work([entry(position, b"z" * 5000)], [message(body=b"m" * 5000)], [(source, position)]))
        if position % 20 == 0:
            submit(journal, Work(checkpoint=Checkpoint(position, {"a": b"state"})))
    assert journal.flush()
    status = journal.status()
    assert status.disk_full
    assert "full" in status.problem
    assert status.dropped[Lane.RAW] > 0
    assert status.dropped[Lane.ALARM] == 0
    assert source.acknowledged == list(range(21, 321))
    assert len(seqs(journal, Lane.ALARM)) == 20

    (small_disk / "others").unlink()
    until(lambda: submit(journal, Work(urgent=True)) or not journal.status().disk_full)
    assert journal.status().problem is None
    journal.close()
    again = make(small_disk / "journal.db")
    recovered = again.open()
    assert (recovered.next_position, recovered.epoch, recovered.moved_aside) == (321, epoch, None)
    assert recovered.checkpoint == Checkpoint(320, {"a": b"state"})
    again.close()


def test_with_nothing_to_drop_it_waits_refuses_and_recovers(small_disk):
    journal, source = make(small_disk / "journal.db", commit_after=0.01, waiting_bytes=MIB), Receiver()
    journal.open()
    journal.start(lambda _: None)
    fill(small_disk / "others")
    position, stuck = 0, False
    while not stuck:  # entries after the checkpoint may never be dropped
        position += 1
        work = Work([entry(position, b"x" * 20_000)], [message(Lane.RAW, b"r" * 20_000)], [(source, position)])
        while not stuck and not journal.submit(work, 0.1):  # a slow disk refuses, too
            stuck = journal._waiting.failing
        assert position < 1000
    status = journal.status()
    assert status.disk_full
    assert status.refused >= 1
    assert status.waiting_bytes <= MIB
    assert status.dropped[Lane.RAW] > 0
    assert len(source.acknowledged) < position - 1

    (small_disk / "others").unlink()
    submit(journal, work)
    assert journal.flush()
    assert source.acknowledged == list(range(1, position + 1))
    until(lambda: submit(journal, Work(urgent=True)) or journal.status().problem is None)
    dropped = journal.status().dropped
    assert dropped[Lane.RAW] >= status.dropped[Lane.RAW]
    journal.close()
    again = make(small_disk / "journal.db")
    assert [found.position for found in again.open().entries] == list(range(1, position + 1))
    assert again.status().dropped == dropped
    assert dropped[Lane.RAW] + len(seqs(again, Lane.RAW)) == position
    again.close()


def test_what_was_lost_in_memory_is_counted_with_the_rest_of_its_work(tmp_path):
    """And not before: what is never committed comes again, all of it."""
    path = tmp_path / "journal.db"

    def take_in(journal):
        journal.open()
        journal._waiting.failing = True
        for position in range(1, 61):
            assert journal.submit(Work([entry(position)], [message(Lane.RAW, b"r" * 20_000)]), 0)
        return journal.status().dropped[Lane.RAW]

    journal = make(path, waiting_bytes=MIB)
    assert take_in(journal) > 0
    journal.close()  # it had not even begun to write
    journal = make(path, waiting_bytes=MIB)
    dropped = take_in(journal)
    journal.start(lambda _: None)
    journal.close()
    again = make(path)
    again.open()
    assert again.status().dropped[Lane.RAW] == dropped > 0
    assert len(seqs(again, Lane.RAW)) == 60 - dropped
    again.close()


def test_a_failed_sync_makes_nothing_durable_until_all_is_in_the_database(tmp_path, monkeypatch):
    fails, real = [3], os.fdatasync

    def fdatasync(descriptor):
        if fails[0]:
            fails[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    journal, source = make(tmp_path / "journal.db", commit_after=0.001), Receiver()
    journal.open()
    journal.start(lambda _: None)
    for position in range(1, 51):
        submit(journal, Work([entry(position)], [], [(source, position)], urgent=position % 7 == 0))
        time.sleep(0.001)
    assert journal.flush()
    assert source.acknowledged == list(range(1, 51))
    assert journal.status().failures == 3
    assert journal.status().problem is None
    journal.close()


def test_a_disk_that_cannot_be_read_for_a_moment_is_told_and_raises_nothing(tmp_path, monkeypatch):
    journal = make(tmp_path / "journal.db")
    journal.open()
    journal.start(lambda _: None)
    before = journal.status()
    monkeypatch.setattr(journal, "_readers", readers.Readers(tmp_path / "journal.db", lambda _: None))

    def fails(_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(readers, "connect_reader", fails)
    status = journal.status()
    assert status.problem == "the journal cannot be read now: disk I/O error"
    assert status.database_bytes == before.database_bytes > 0
    monkeypatch.undo()
    assert journal.status().problem is None
    journal.close()


def test_it_opens_on_a_full_disk(small_disk):
    journal = make(small_disk / "journal.db")
    journal.open()
    journal.start(lambda _: None)
    journal.submit(Work([entry(1)]))
    journal.close()
    fill(small_disk / "others")
    again, source = make(small_disk / "journal.db"), Receiver()
    assert again.open().next_position == 2
    fill(small_disk / "more")
    again.start(lambda _: None)
    assert again.status().disk_full
    again.submit(Work([entry(2)], [], [(source, 2)], urgent=True))
    (small_disk / "others").unlink()
    assert again.flush()
    assert source.acknowledged == [2]
    again.close()
