"""When Works are committed, what waits, and what is given up when memory is full because the disk is."""

import threading
import time

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.journal.settings import JournalSettings
from edge_runtime.journal.waiting import Waiting
from edge_runtime.journal.work import Work
from tests.edge_runtime.journal.tools import FakeClock, entry, message

ALL = 1 << 30
FOREVER = 20


class Taker(threading.Thread):
    def __init__(self, waiting):
        super().__init__(daemon=True)
        self.waiting, self.taken = waiting, None
        self.start()

    def run(self):
        self.taken = self.waiting.take(ALL)

    def gets(self):
        self.join(FOREVER)
        assert not self.is_alive()
        return self.taken

    def waits(self):
        self.join(0.03)
        return self.is_alive()


def make(clock=None, **settings):
    return Waiting(JournalSettings(**{"commit_after": 60.0, **settings}), clock or FakeClock())


def test_an_urgent_work_takes_all_before_it_along():
    waiting, first, urgent = make(), Work(), Work(urgent=True)
    taker = Taker(waiting)
    waiting.put(first, 0)
    assert taker.waits()
    waiting.put(urgent, 0)
    assert taker.gets() == [first, urgent]


def test_enough_receipts():
    waiting = make(commit_messages=3)
    taker = Taker(waiting)
    waiting.put(Work(receipts=[(None, 1)]), 0)
    assert taker.waits()
    waiting.put(Work(receipts=[(None, 2), (None, 3)]), 0)
    assert len(taker.gets()) == 2


def test_late_by_the_clock_or_by_waiting():
    clock = FakeClock()
    waiting = make(clock)
    waiting.put(Work(), 0)
    clock.now += 61 * 10**9
    assert len(Taker(waiting).gets()) == 1
    waiting = make(commit_after=0.01)
    waiting.put(Work(), 0)
    assert len(Taker(waiting).gets()) == 1


def test_while_held_only_urgent_works_go():
    waiting = make(commit_messages=1)
    waiting.hold(True)
    waiting.hold(True)
    taker = Taker(waiting)
    waiting.put(Work(receipts=[(None, 1)]), 0)
    assert taker.waits()
    waiting.hold(False)
    assert taker.waits()
    waiting.hold(False)
    assert len(taker.gets()) == 1
    waiting.hold(True)
    waiting.put(Work(urgent=True), 0)
    assert len(Taker(waiting).gets()) == 1


def test_a_large_group_is_divided_in_order():
    waiting = make()
    works = [Work([entry(i, b"x" * 1000)], urgent=True) for i in range(5)]
    for work in works:
        waiting.put(work, 0)
    assert [waiting.take(2700) for _ in range(3)] == [works[:2], works[2:4], works[4:]]
    huge = Work([entry(1, b"x" * 10_000)], urgent=True)
    waiting.put(huge, 0)
    assert waiting.take(1) == [huge]


def test_what_was_put_back_is_first_again():
    waiting = make()
    works = [Work(urgent=True) for _ in range(3)]
    for work in works:
        waiting.put(work, 0)
    taken = waiting.take(ALL)
    late = Work(urgent=True)
    waiting.put(late, 0)
    waiting.put_back(taken)
    assert waiting.take(ALL) == [*works, late]


def test_memory_is_bounded_until_released():
    waiting = make(waiting_bytes=5000)
    works = [Work([entry(i, b"x" * 1000)]) for i in range(10)]
    taken = [work for work in works if waiting.put(work, 0)]
    assert 3 <= len(taken) <= 4
    assert waiting.bytes <= 5000
    waiting.hurry()
    assert waiting.take(ALL) == taken
    assert not waiting.put(Work([entry(1, b"x" * 1000)]), 0)  # what is being committed is still in memory
    timer = threading.Timer(0.02, waiting.release, [taken])
    timer.start()
    assert waiting.put(Work([entry(1, b"x" * 1000)]), FOREVER)
    timer.join()


def test_one_work_of_any_size_finds_room():
    waiting = make(waiting_bytes=5000)
    assert waiting.put(Work([entry(1, b"x" * 100_000)]), 0)


def test_raw_then_backfill_are_given_up_when_the_disk_fails_nothing_else():
    waiting = make(waiting_bytes=20_000)
    works = [Work([entry(i)], [message(lane, b"x" * 1000) for lane in Lane]) for i in range(4)]
    for work in works:
        assert waiting.put(work, 0)
    assert not waiting.put(Work([entry(9, b"x" * 5000)]), 0)
    waiting.failing = True
    assert waiting.put(Work([entry(9, b"x" * 5000)]), 0)
    shed = waiting.shed()
    assert list(shed) == [Lane.RAW]
    assert shed[Lane.RAW][0] == sum(Lane.RAW not in [m.lane for m in work.messages] for work in works)
    assert not waiting.put(Work([entry(10, b"x" * 18_000)]), 0)
    shed = waiting.shed()
    assert {lane: count for lane, (count, _) in shed.items()} == {Lane.RAW: 4, Lane.BACKFILL: 4}
    assert [[m.lane for m in work.messages] for work in works] == [[Lane.ALARM, Lane.LIVE]] * 4
    assert [{lane: count for lane, (count, _) in work.shed.items()} for work in works] == [
        {Lane.RAW: 1, Lane.BACKFILL: 1}
    ] * 4
    waiting.forget_shed(works[:1])
    assert {lane: count for lane, (count, _) in waiting.shed().items()} == {Lane.RAW: 3, Lane.BACKFILL: 3}
    waiting.forget_shed(works[1:])
    assert waiting.shed() == {}


def test_what_stands_for_a_message_of_the_spool_is_not_given_up():
    waiting = make(waiting_bytes=20_000)
    pieces = Work(messages=[message(Lane.BACKFILL, b"x" * 5000) for _ in range(2)], replaces=True)
    backlog = Work(messages=[message(Lane.BACKFILL, b"x" * 5000)])
    waiting.failing = True
    for work in (pieces, backlog):
        assert waiting.put(work, 0)
    assert waiting.put(Work([entry(9, b"x" * 5000)]), 0)
    assert (len(pieces.messages), len(backlog.messages)) == (2, 0)
    assert not waiting.put(Work([entry(10, b"x" * 8000)]), 0)


def test_a_nudge_is_answered_in_time():
    waiting = make(commit_after=0.01)
    taker = Taker(waiting)
    waiting.nudge()
    assert taker.gets() == []


@pytest.mark.parametrize("works", [0, 2])
def test_closed(works):
    waiting = make()
    for _ in range(works):
        waiting.put(Work(), 0)
    waiting.close()
    assert len(waiting.take(ALL) or []) == works
    assert waiting.take(ALL) is None
    began = time.monotonic()
    waiting.pause(60)
    assert time.monotonic() - began < FOREVER
