"""The journal as its users see it: Works in, messages and receipts out, and all of it again after a restart."""

import sqlite3
import threading
import time

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.errors import JournalError
from edge_runtime.journal.work import Checkpoint, Work
from tests.edge_runtime.journal.tools import FakeClock, Receiver, entry, make, message, seqs

FOREVER = 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "journal.db"


@pytest.fixture
def journal(path):
    journal = make(path, commit_after=0.01)
    journal.open()
    yield journal
    journal.close()


def until(condition):
    end = time.monotonic() + FOREVER
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def test_a_work_is_acknowledged_and_sent_on_once_committed_and_is_there_after_a_restart(path):
    journal, source, sent = make(path), Receiver(), []
    recovered = journal.open()
    assert (recovered.checkpoint, list(recovered.entries), recovered.next_position) == (None, [], 1)
    journal.start(sent.extend)
    checkpoint = Checkpoint(1, {"pump/fleet": b"state"})
    journal.submit(Work([entry(1), entry(2)], [message()], [(source, "a")], cursor=1, checkpoint=checkpoint))
    journal.submit(Work([entry(3, kind="samples")], [message(Lane.ALARM)], [(source, "b")]))
    assert journal.flush()
    assert source.acknowledged == ["a", "b"]
    assert [(m.seq, m.message) for m in sent] == [(1, message(Lane.ALARM)), (1, message())]
    journal.close()

    again = make(path)
    recovered = again.open()
    assert recovered.checkpoint == checkpoint
    assert list(recovered.entries) == [entry(2), entry(3, kind="samples")]
    assert (recovered.cursor, recovered.next_position, recovered.epoch) == (1, 4, sent[0].epoch)
    assert again.read(Lane.LIVE, 0, 10) == sent[1:]
    again.close()


def test_an_urgent_work_is_committed_at_once_others_after_a_while_or_when_enough_wait(path):
    journal, source = make(path, commit_after=60.0, commit_messages=3), Receiver()
    journal.open()
    journal.start(lambda _: None)
    journal.submit(Work(receipts=[(source, 1)]))
    journal.submit(Work(receipts=[(source, 2)]))
    journal.submit(Work(urgent=True))
    until(lambda: source.acknowledged == [1, 2])  # what waits before it goes with it
    for number in (3, 4):
        journal.submit(Work(receipts=[(source, number)]))
    time.sleep(0.05)
    assert source.acknowledged == [1, 2]
    journal.submit(Work(receipts=[(source, 5)]))
    until(lambda: source.acknowledged == [1, 2, 3, 4, 5])
    assert journal.status().commits <= 3  # one may be for tidying up
    journal.close()


def test_a_clock_that_stands_still_delays_nothing_for_ever(path):
    journal, source = make(path, FakeClock(), commit_after=0.01), Receiver()
    journal.open()
    journal.start(lambda _: None)
    journal.submit(Work(receipts=[(source, 1)]))
    until(lambda: source.acknowledged == [1])
    journal.close()


def test_what_raises_after_a_commit_is_counted_and_harms_nobody_else(journal):
    class Broken:
        def acknowledge(self, _):
            raise RuntimeError("broken source")

    good = Receiver()
    journal.start(lambda _: 1 / 0)
    journal.submit(Work([entry(1)], [message()], [(Broken(), 1), (good, 2)]))
    journal.submit(Work([entry(2)], [message()], [(good, 3)]))
    assert journal.flush()
    assert good.acknowledged == [2, 3]
    assert 2 <= journal.status().callbacks_failed <= 3


def test_positions_without_gaps_are_the_engines_duty(journal):
    journal.start(lambda _: None)
    with pytest.raises(ValueError, match="go on from 1"):
        journal.submit(Work([entry(2)]))
    journal.submit(Work([entry(1), entry(2)]))
    with pytest.raises(ValueError, match="go on from 3"):
        journal.submit(Work([entry(2)]))


def test_two_gateways_on_one_folder(path):
    journal = make(path)
    journal.open()
    with pytest.raises(JournalError, match=r"in use by another gateway \(process \d+\).*data folder of its own"):
        make(path).open()
    journal.close()
    again = make(path)
    again.open()
    again.close()


def test_a_folder_that_cannot_be_written_is_named(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("edge_runtime.journal.database.os.open", refuse)  # root may write anywhere
    with pytest.raises(JournalError, match=r"cannot be written: Permission denied. It has to be a folder of user \d+"):
        make(path).open()


def test_it_is_closed(journal):
    journal.start(lambda _: None)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.submit(Work())
    with pytest.raises(JournalError, match="closed"):
        journal.backlog()


def test_closing_commits_what_waits(path):
    journal, source = make(path, commit_after=60.0), Receiver()
    journal.open()
    journal.start(lambda _: None)
    journal.submit(Work([entry(1)], [], [(source, 1)]))
    journal.close()
    assert source.acknowledged == [1]


def test_a_newer_format_is_not_touched(path):
    journal = make(path)
    journal.open()
    journal.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(JournalError, match="is of format 2, this software writes 1"):
        make(path).open()


# ---------------------------------------------------------------------- the spool


def test_acknowledged_messages_go_others_stay(journal):
    journal.start(lambda _: None)
    epoch = journal.epoch
    journal.submit(Work(messages=[message()] * 9 + [message(Lane.RAW)]))
    journal.flush()
    journal.acknowledge(epoch - 1, Lane.LIVE, 9)
    journal.acknowledge(epoch, Lane.LIVE, 2, [(4, 5), (8, 100), (-5, 0), (7, 6)])
    until(lambda: journal.backlog()[Lane.LIVE][0] == 3)
    assert seqs(journal, Lane.LIVE) == [3, 6, 7]


def test_reading_is_bounded_but_gives_at_least_one(journal):
    journal.start(lambda _: None)
    journal.submit(Work(messages=[message(body=b"x" * 1000)] * 10))
    journal.flush()
    assert [m.seq for m in journal.read(Lane.LIVE, 2, 3)] == [3, 4, 5]
    assert [m.seq for m in journal.read(Lane.LIVE, 0, 100, 2500)] == [1, 2]
    assert [m.seq for m in journal.read(Lane.LIVE, 9, 100, 1)] == [10]
    assert journal.read(Lane.LIVE, 10, 100) == journal.read(Lane.ALARM, 0, 100) == []


def test_the_backlog_says_since_when(journal):
    journal.start(lambda _: None)
    journal.submit(Work(messages=[message(t_rx=7), message(t_rx=8), message(Lane.ALARM, t_rx=9)]))
    journal.flush()
    backlog = journal.backlog()
    assert [backlog[lane][2] for lane in Lane] == [9, 7, None, None]
    assert [backlog[lane][0] for lane in Lane] == [1, 2, 0, 0]


def test_a_full_spool_drops_raw_first_and_alarms_last_and_says_so(path):
    journal = make(path, commit_after=0.01, max_bytes=20_000)
    journal.open()
    sent = []
    journal.start(sent.extend)
    for lane in (Lane.RAW, Lane.BACKFILL, Lane.LIVE, Lane.ALARM):
        journal.submit(Work(messages=[message(lane, b"x" * 1000)] * 4))
    journal.flush()
    assert {lane: len(seqs(journal, lane)) for lane in Lane} == {
        Lane.ALARM: 4,
        Lane.LIVE: 4,
        Lane.BACKFILL: 4,
        Lane.RAW: 4,
    }
    journal.submit(Work(messages=[message(Lane.LIVE, b"x" * 1000)] * 4))
    journal.flush()
    assert seqs(journal, Lane.RAW) == []
    assert journal.floor(Lane.RAW) == 5
    assert (journal.floor(Lane.BACKFILL), journal.floor(Lane.ALARM)) == (1, 1)
    journal.submit(Work(messages=[message(Lane.ALARM, b"x" * 1000)] * 12))
    journal.flush()
    assert seqs(journal, Lane.ALARM) == list(range(1, 17))
    assert (journal.floor(Lane.BACKFILL), journal.floor(Lane.LIVE)) == (5, 9)
    assert sum(journal.status().dropped.values()) == 16
    count, size, _ = journal.backlog()[Lane.ALARM]
    assert count == 16
    assert size <= 20_000
    before = journal.status().dropped
    journal.close()

    again = make(path)
    again.open()
    assert again.status().dropped == before
    assert again.floor(Lane.LIVE) == 9
    again.close()


def test_what_is_dropped_at_once_is_not_announced(path):
    journal, sent = make(path, max_bytes=2000), []
    journal.open()
    journal.start(sent.extend)
    journal.submit(Work(messages=[message(Lane.RAW, b"x" * 3000), message(Lane.LIVE)]))
    journal.flush()
    assert [m.message.lane for m in sent] == [Lane.LIVE]
    assert journal.status().dropped[Lane.RAW] == 1
    journal.close()


def test_a_long_backlog_is_acknowledged_in_steps_while_works_go_on(journal):
    journal.start(lambda _: None)
    for _ in range(20):
        journal.submit(Work(messages=[message()] * 200))
    journal.flush()
    journal.acknowledge(journal.epoch, Lane.LIVE, 3999)
    assert len(journal.read(Lane.LIVE, 0, 10)) == 1  # not sent again, though not yet deleted
    until(lambda: journal.backlog()[Lane.LIVE][0] == 1)
    assert seqs(journal, Lane.LIVE) == [4000]


# ---------------------------------------------------------------------- entries and history


def test_history_is_kept_within_its_bytes_samples_are_not(path):
    journal = make(path, commit_after=0.01, history_bytes=20_000)
    journal.open()
    journal.start(lambda _: None)
    position = 0
    for _ in range(30):
        works = [entry(position + 1, b"x" * 1000), entry(position + 2, b"y" * 1000, "samples")]
        position += 2
        journal.submit(Work(works))
    journal.flush()
    assert len(list(journal.history("pump", 0))) == 30  # nothing is deleted before a checkpoint
    journal.submit(Work(checkpoint=Checkpoint(position - 2, {})))
    journal.flush()
    until(lambda: len(list(journal.history("pump", 0))) < 20)
    until(lambda: not journal._writer.to_tidy())
    kept = [found.position for found in journal.history("pump", 0)]
    assert kept == list(range(kept[0], 60, 2))
    assert 15 <= len(kept) <= 18
    assert list(journal.history("fan", 0)) == []
    assert [found.position for found in journal.history("pump", 55)] == [57, 59]
    journal.close()
    again = make(path)
    assert [found.position for found in again.open().entries] == [59, 60]
    again.close()


def test_history_grows_old(path):
    clock = FakeClock()
    journal = make(path, clock, commit_after=0.01, history_days=1.0)
    journal.open()
    journal.start(lambda _: None)
    journal.submit(Work([entry(1)]))
    journal.flush()
    clock.now += 2 * 86400 * 10**9
    journal.submit(Work([entry(2)], checkpoint=Checkpoint(2, {})))
    journal.flush()
    journal.submit(Work([entry(3)]))
    journal.flush()
    until(lambda: [found.position for found in journal.history("pump", 0)] == [2, 3])
    journal.close()


def test_parts_of_a_checkpoint_come_and_go(path):
    journal = make(path)
    journal.open()
    journal.start(lambda _: None)
    journal.submit(Work(checkpoint=Checkpoint(0, {"a": b"1", "b": b"2"})))
    journal.flush()
    journal.submit(Work(checkpoint=Checkpoint(0, {"b": b"3", "c": b"4", "d": b""})))
    journal.close()
    again = make(path)
    assert again.open().checkpoint == Checkpoint(0, {"b": b"3", "c": b"4", "d": b""})
    again.close()


def test_many_threads_read_and_acknowledge_while_one_submits(journal):
    journal.start(lambda _: None)
    epoch, stop, failures = journal.epoch, threading.Event(), []

    def read(lane):
        try:
            after = 0
            while not stop.is_set():
                found = journal.read(lane, after, 7)
                assert [m.seq for m in found] == list(range(after + 1, after + 1 + len(found)))
                if found:
                    after = found[-1].seq
                    journal.acknowledge(epoch, lane, after)
                journal.backlog()
                journal.status()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(lane,)) for lane in Lane]
    for thread in threads:
        thread.start()
    for number in range(300):
        journal.submit(Work(messages=[message(lane) for lane in Lane], urgent=number % 10 == 0))
    journal.flush()
    until(lambda: not any(count for count, _, _ in journal.backlog().values()) or failures)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
