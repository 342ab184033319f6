"""The journal as its users see it: Works in, messages and receipts out, and all of it again after a restart."""

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.work import Checkpoint, Entry, Work


class Recorder:
    """A source that remembers what was acknowledged."""

    def __init__(self):
        self.acknowledged = []

    def acknowledge(self, receipts):
        self.acknowledged += receipts


def entry(position, body=b"body", kind="observations"):
    return Entry(position, kind, "pump", "model", body)


def message(lane=Lane.LIVE, body=b"{}", asset="p1"):
    return Outgoing("observation", lane, asset, 1, 2, body)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "journal.db"


def make(path, **settings):
    return Journal(path, JournalSettings(**settings), SpoolSettings(), SystemClock())


def test_a_work_is_acknowledged_and_sent_on_once_committed_and_is_there_after_a_restart(path):
    journal, source, sent = make(path), Recorder(), []
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
