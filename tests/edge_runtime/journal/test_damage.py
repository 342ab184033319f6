"""A database that is damaged never stops the gateway for good, and what can be read of it is not lost."""

import os
import random
import sqlite3
from contextlib import closing

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.errors import JournalError
from edge_runtime.journal.work import Checkpoint, Work
from tests.edge_runtime.journal.tools import FakeClock, entry, make, message, seqs

PAGE = 1024


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def filled(path, clock=None):
    """A journal with 200 messages, a checkpoint at 100 and 100 entries after it."""
    journal = make(path, clock)
    epoch = journal.open().epoch
    journal.start(lambda _: None)
    for position in range(1, 201):
        work = Work([entry(position, b"%d" % position * 100)], [message(body=b"%d" % position * 100)])
        if position == 100:
            work.checkpoint = Checkpoint(100, {"pump/fleet": b"state" * 1000})
        if position == 150:
            work.cursor = 150
        journal.submit(work)
    journal.close()
    return epoch


def overwrite(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize("what", ["garbage", "empty header", "cut off"])
def test_a_file_that_is_no_database_any_more(path, what):
    epoch = filled(path)
    if what == "cut off":
        os.truncate(path, 20_000)
    else:
        overwrite(path, 0, b"garbage!" * 4096 if what == "garbage" else bytes(100))
    journal = make(path)
    recovered = journal.open()
    assert recovered.epoch > epoch
    assert recovered.moved_aside.exists()
    assert recovered.next_position >= 1
    assert journal.status().damaged == 1
    journal.start(lambda _: None)
    journal.submit(Work([entry(recovered.next_position)], [message()]))
    assert journal.flush()
    journal.close()
    again = make(path)
    assert again.open().moved_aside is None
    again.close()


def pages_with(path, text):
    data = path.read_bytes()
    return [page for page in range(0, len(data), PAGE) if text in data[page : page + PAGE]]


def recover(path):
    """Open as often as it takes, for damage may be found only when it is used: (recovered, entries, messages)."""
    for _ in range(3):
        journal = make(path)
        recovered = journal.open()
        entries = list(recovered.entries)
        journal.start(lambda _: None)
        try:
            found = {lane: journal.read(lane, 0, 10**6, 10**9) for lane in Lane}
            use(journal, recovered)
        except JournalError as error:
            if "restart the gateway" not in str(error):
                raise
        else:
            return recovered, entries, found
        finally:
            journal.close()
    raise AssertionError("it does not recover")


def use(journal, recovered):
    """All that may be done with it."""
    for lane in Lane:
        journal.acknowledge(recovered.epoch, lane, 3)
    list(journal.history("pump", 0))
    journal.backlog()
    journal.status()
    checkpoint = Checkpoint(recovered.next_position, {"x": b"y" * 3000})
    for _ in range(2):
        journal.submit(Work(messages=[message(lane) for lane in Lane], checkpoint=checkpoint))
        assert journal.flush()


def test_states_entries_and_messages_are_saved_around_what_is_damaged(path):
    epoch = filled(path)
    for page in pages_with(path, b"177177177"):  # of an entry and of a message
        overwrite(path, page, b"\xff" * PAGE)
    recovered, entries, found = recover(path)
    assert recovered.epoch > epoch
    assert recovered.checkpoint == Checkpoint(100, {"pump/fleet": b"state" * 1000})
    assert [one.position for one in entries] == list(range(101, recovered.next_position))
    assert 165 < recovered.next_position <= 177
    assert recovered.cursor == 150
    bodies = [spooled.message.body for spooled in found[Lane.LIVE]]
    expected = [b"%d" % n * 100 for n in range(1, 201)]
    assert [body for body in expected if body in bodies] == bodies
    assert len(bodies) >= 190
    assert [spooled.seq for spooled in found[Lane.LIVE]] == list(range(1, len(bodies) + 1))


def test_random_damage_anywhere(path):
    clock = FakeClock()
    filled(path, clock)
    good = path.read_bytes()
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(12):
        for old in path.parent.iterdir():
            old.unlink()
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 3, 30))):
            at = rng.randrange(len(data))
            size = rng.choice((1, 8, 1024))
            data[at : at + size] = rng.randbytes(len(data[at : at + size]))
        path.write_bytes(data)
        print(f"seed {seed}")
        if data[60:64] == good[60:64]:  # the number of its format: a newer one is not touched
            recover(path)


def test_damage_found_while_running_is_noted_for_the_next_start(path):
    filled(path)
    journal = make(path)
    journal.open()
    journal.start(lambda _: None)
    for page in pages_with(path, b"999999"):  # of an entry before the checkpoint, and of a message
        overwrite(path, page, b"\xff" * PAGE)
    with pytest.raises(JournalError, match="damaged: restart the gateway"):
        seqs(journal, Lane.LIVE)
    with pytest.raises(JournalError, match="restart the gateway"):
        journal.submit(Work())
    journal.close()
    again = make(path)
    assert again.open().moved_aside is not None
    again.close()


def test_a_journal_of_another_version_is_not_called_damaged(path, caplog):
    epoch = filled(path)
    with closing(sqlite3.connect(path)) as old:
        old.execute("ALTER TABLE entries RENAME COLUMN crc TO sum")
    journal = make(path)
    recovered = journal.open()
    assert recovered.other_version
    assert recovered.epoch > epoch
    assert ".other-version-" in recovered.moved_aside.name
    assert journal.status().damaged == 0
    told = " ".join(record.getMessage() for record in caplog.records)
    assert "was written by another version of this software: it is of format 1, without entries.crc" in told
    assert "damaged" not in told
    journal.close()
    again = make(path)
    recovered = again.open()
    assert (recovered.moved_aside, recovered.other_version) == (None, False)
    again.close()


def test_a_journal_of_a_newer_version_is_left_alone(path):
    filled(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")
    with pytest.raises(JournalError, match="format 2, this software writes 1: install the newer one"):
        make(path).open()


def test_no_more_than_two_damaged_files_are_kept(path):
    clock = FakeClock()
    for _ in range(4):
        filled(path, clock)
        overwrite(path, 0, bytes(100))
        journal = make(path, clock)
        journal.open()
        journal.close()
        path.unlink()
    found = [found for found in path.parent.glob("*.damaged-*") if not found.name.endswith(("-wal", "-shm"))]
    assert len(found) == 2


def test_the_epoch_rises_even_if_the_clock_does_not(path):
    epochs = []
    for _ in range(3):
        journal = make(path, FakeClock(utc=0))
        epochs.append(journal.open().epoch)
        journal.close()
        path.unlink()
    assert epochs == [1, 2, 3]
