"""What the tests of the journal share."""

from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.work import Entry


class Receiver:
    """A source that remembers what was acknowledged."""

    def __init__(self):
        self.acknowledged = []

    def acknowledge(self, receipts):
        self.acknowledged += receipts


class FakeClock:
    """Stands still until it is set."""

    def __init__(self, utc=1_800_000_000 * 10**9):
        self.now = utc

    def utc(self):
        return self.now

    def monotonic(self):
        return self.now


def entry(position, body=b"body", kind="observations", asset_class="pump"):
    return Entry(position, kind, asset_class, "model", body)


def message(lane=Lane.LIVE, body=b"{}", t_rx=2):
    return Outgoing("observation", lane, "p1", 1, t_rx, body)


def make(path, clock=None, max_bytes=1 << 30, **settings):
    return Journal(path, JournalSettings(**settings), SpoolSettings(max_bytes=max_bytes), clock or SystemClock())


def seqs(journal, lane, after=0):
    return [spooled.seq for spooled in journal.read(lane, after, 10**6, 10**12)]
