"""Durable is what a sync covered that began after it was written: never less; and alarms wait for no other sync."""

import os
import threading
import time

import pytest

from edge_runtime.journal.sync import THREADS, Syncer
from tests.edge_runtime.journal.tools import FakeClock

FOREVER = 20


def until(condition):
    end = time.monotonic() + FOREVER
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


class Bench:
    """A Syncer on a disk whose syncs end when the test says so."""

    def __init__(self, log):
        log.touch()
        self.running, self.durable, self.failures, self.holds = [], [], [], []
        self.lock, self.clock = threading.Lock(), FakeClock()
        self.syncer = Syncer(log, self.clock, self.durable.append, self.failures.append, self.holds.append)

    def fdatasync(self, _):
        end = threading.Event()
        end.error = None
        with self.lock:
            self.running.append(end)
        assert end.wait(FOREVER)
        if end.error is not None:
            raise end.error

    def end(self, index=0, error=None):
        with self.lock:
            sync = self.running.pop(index)
        sync.error = error
        sync.set()

    def syncs(self, number):
        until(lambda: len(self.running) == number)
        time.sleep(0.005)
        assert len(self.running) == number

    def close(self):
        closing = threading.Thread(target=self.syncer.close)
        closing.start()
        while closing.is_alive():
            while self.running:
                self.end()
            closing.join(0.002)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path / "log")
    monkeypatch.setattr(os, "fdatasync", bench.fdatasync)
    bench.syncer.start()
    yield bench
    bench.close()


def test_ordinary_commits_wait_for_the_sync_that_runs_and_share_the_next(bench):
    bench.syncer.written(1, False)
    bench.syncs(1)
    bench.syncer.written(2, False)
    bench.syncer.written(3, False)
    bench.syncs(1)
    bench.end()
    until(lambda: bench.durable == [1])
    bench.syncs(1)
    bench.end()
    until(lambda: bench.durable == [1, 3])


def test_an_urgent_commit_has_its_own_sync_at_once_which_covers_those_before(bench):
    bench.syncer.written(1, False)
    bench.syncs(1)
    bench.syncer.written(2, False)
    bench.syncer.written(3, True)
    bench.syncs(2)
    bench.end(1)
    until(lambda: bench.durable == [3])
    bench.end(0)
    bench.syncs(0)
    assert bench.durable == [3]


def test_what_was_written_while_a_sync_ran_is_not_durable_when_it_ends(bench):
    bench.syncer.written(1, True)
    bench.syncs(1)
    bench.syncer.written(2, False)
    bench.end()
    until(lambda: bench.durable == [1])
    bench.syncs(1)
    assert bench.durable == [1]


def test_no_more_than_a_few_at_once(bench):
    for ticket in range(1, THREADS + 3):
        bench.syncer.written(ticket, True)
        bench.syncs(min(ticket, THREADS))
    bench.end(THREADS - 1)
    until(lambda: bench.durable == [THREADS])
    bench.syncs(THREADS)
    bench.end(THREADS - 1)
    until(lambda: bench.durable == [THREADS, THREADS + 2])


def test_ordinary_works_are_held_while_any_sync_runs(bench):
    bench.syncer.written(1, True)
    bench.syncs(1)
    bench.syncer.written(2, True)
    bench.syncs(2)
    bench.end()
    bench.syncs(1)
    assert bench.holds == [True]
    bench.end()
    until(lambda: bench.holds == [True, False])


def test_after_a_failed_sync_nothing_is_durable_until_repaired(bench):
    bench.syncer.written(1, True)
    bench.syncs(1)
    bench.syncer.written(2, True)
    bench.syncs(2)
    bench.end(0, OSError("broken"))
    until(lambda: len(bench.failures) == 1)
    bench.end(0)  # it succeeds: perhaps because the data is given up already
    bench.syncer.written(3, True)
    bench.syncs(0)
    assert bench.durable == []
    bench.syncer.repaired()
    assert bench.durable == [3]
    bench.syncer.written(4, True)
    bench.syncs(1)
    bench.end()
    until(lambda: bench.durable == [3, 4])


def test_a_disk_that_does_not_answer_is_told_of(bench):
    assert bench.syncer.stalled() == 0
    bench.syncer.written(1, True)
    bench.syncs(1)
    bench.clock.now += 7 * 10**9
    assert bench.syncer.stalled() == 7
    bench.syncer.written(2, True)
    bench.syncs(2)
    assert bench.syncer.stalled() == 7
    bench.end()
    bench.syncs(1)
    assert bench.syncer.stalled() == 0
    bench.clock.now += 1 * 10**9
    assert bench.syncer.stalled() == 1
    bench.end()
    bench.syncs(0)
    assert bench.syncer.stalled() == 0


def test_closing_syncs_what_is_left(bench):
    bench.syncer.written(1, False)
    bench.syncs(1)
    bench.syncer.written(2, False)
    bench.close()
    assert bench.durable == [1, 2]
