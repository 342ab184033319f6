"""The spool, the entries and the ledger against a model that fits a screen, through any sequence of events."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_runtime.contract.message import Lane
from edge_runtime.journal import spool, store
from edge_runtime.journal.opening import open_database
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.work import Checkpoint, Work
from edge_runtime.journal.writer import Writer
from tests.edge_runtime.journal.tools import FakeClock, entry, message

LIMIT, HISTORY = 12_000, 3_000
lanes = st.sampled_from(list(Lane))
bodies = st.integers(0, 2000).map(lambda size: b"x" * size)


class SpoolMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.there = {lane: {} for lane in Lane}  # seq → body
        self.acknowledged = set()  # lane, seq: still there, deleted with the next commit that has time for it
        self.last = dict.fromkeys(Lane, 0)
        self.floor = dict.fromkeys(Lane, 1)
        self.dropped = dict.fromkeys(Lane, 0)
        self.entries, self.checkpoint, self.cursor = [], None, 0
        self.open()
        self.epoch = self.opened.spool.epoch

    def open(self):
        settings = SpoolSettings(max_bytes=LIMIT)
        self.opened = open_database(self.folder / "journal.db", settings, self.clock)
        connection = self.opened.connection
        connection.execute("PRAGMA synchronous=OFF")
        journal = JournalSettings(history_bytes=HISTORY)
        self.writer = Writer(connection, self.opened.ledger, self.opened.spool, journal, self.clock)

    def commit(self, work):
        before = dict(self.last)
        committed = self.writer.commit([work])
        self.opened.ledger.survive(committed.changed)
        for one in work.messages:
            self.last[one.lane] += 1
            self.there[one.lane][self.last[one.lane]] = one.body
        if not work.urgent or self.size() > LIMIT:
            self.delete_acknowledged()
        self.trim()
        expected = {(lane, seq) for lane in Lane for seq in self.there[lane] if seq > before[lane]}
        assert {(m.message.lane, m.seq) for m in committed.spooled} == expected

    def delete_acknowledged(self):
        for lane, seq in self.acknowledged:
            self.there[lane].pop(seq, None)
        self.acknowledged.clear()

    def trim(self):
        size = self.size()
        excess = size - LIMIT + LIMIT // 64 if size > LIMIT else 0
        for lane in reversed(Lane):
            for seq in sorted(self.there[lane]):
                if excess <= 0:
                    return
                excess -= len(self.there[lane].pop(seq)) + spool.ROW
                self.floor[lane], self.dropped[lane] = seq + 1, self.dropped[lane] + 1

    def size(self):
        return sum(len(body) + spool.ROW for found in self.there.values() for body in found.values())

    @rule(messages=st.lists(st.builds(message, lanes, bodies), max_size=6), urgent=st.booleans())
    def send(self, messages, urgent):
        self.commit(Work(messages=messages, urgent=urgent))

    @rule(sizes=st.lists(st.tuples(st.integers(0, 900), st.sampled_from(["samples", "observations"])), max_size=4))
    def journal(self, sizes):
        first = len(self.entries) + 1
        added = [entry(first + i, bytes(size), kind) for i, (size, kind) in enumerate(sizes)]
        self.entries += added
        self.cursor = len(self.entries)
        self.commit(Work(added, cursor=self.cursor))

    @rule(parts=st.dictionaries(st.sampled_from("abc"), st.binary(max_size=50)), back=st.integers(0, 3))
    def check(self, parts, back):
        position = max(len(self.entries) - back, 0 if self.checkpoint is None else self.checkpoint.position)
        self.checkpoint = Checkpoint(position, parts)
        self.clock.now += 1
        self.commit(Work(checkpoint=self.checkpoint))
        self.tidy()
        kept = [(one.position, len(one.body) + store.ROW) for one in store.after(self.opened.connection, position)]
        old = store.observations(self.opened.connection, "pump", 0)
        kept += [(one.position, len(one.body) + store.ROW) for one in old if one.position <= position]
        history = sum(size for where, size in kept if where <= position)
        needed = sum(size for where, size in kept if where > position and self.entries[where - 1].kind != "samples")
        assert history == 0 or history + needed <= HISTORY

    @rule(lane=lanes, upto=st.integers(-1, 40), ranges=st.lists(st.tuples(st.integers(-2, 60), st.integers(0, 70))))
    def acknowledge(self, lane, upto, ranges):
        self.opened.spool.acknowledge(lane, upto, ranges)
        for low, high in [(1, upto), *ranges]:
            self.acknowledged |= {(lane, seq) for seq in range(max(low, 1), min(high, self.last[lane]) + 1)}

    @rule()
    def tidy(self):
        for _ in range(1000):
            if not self.writer.to_tidy():
                break
            self.opened.ledger.survive(self.writer.commit([]).changed)
        assert not self.writer.to_tidy()
        self.delete_acknowledged()

    @rule()
    def reopen(self):
        self.tidy()  # what is acknowledged but not deleted is sent again after a restart
        self.opened.connection.close()
        self.open()
        assert self.opened.spool.epoch == self.epoch
        assert self.opened.position == len(self.entries)
        assert self.opened.ledger["cursor"] == self.cursor
        assert self.opened.checkpoint == self.checkpoint

    @invariant()
    def the_same_as_the_model(self):
        connection, ledger = self.opened.connection, self.opened.ledger
        for lane in Lane:
            found = spool.read(connection, self.epoch, lane, 0, 10**9, 10**6, 10**9)
            assert {m.seq: m.message.body for m in found} == self.there[lane]
            named = {
                what: ledger.durable(f"{spool.name(lane)}.{what}") for what in ("last", "count", "dropped", "bytes")
            }
            size = sum(len(body) + spool.ROW for body in self.there[lane].values())
            assert named == {
                "last": self.last[lane],
                "count": len(self.there[lane]),
                "dropped": self.dropped[lane],
                "bytes": size,
            }
            assert max(1, ledger.durable(f"{spool.name(lane)}.floor")) == self.floor[lane]
        assert self.size() <= LIMIT
        start = 0 if self.checkpoint is None else self.checkpoint.position
        assert list(store.after(connection, start)) == self.entries[start:]

    def teardown(self):
        self.opened.connection.close()
        shutil.rmtree(self.folder)


TestSpool = SpoolMachine.TestCase
# Without shrinking, which takes minutes here.
TestSpool.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
