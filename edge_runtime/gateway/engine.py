"""The engine: the one thread that takes what sources put into the inbox through the twins to the journal.

Every few milliseconds it takes what has arrived, closes the observations it can, advances all machines of a class in
one call, and hands over one Work: what came in, what it raised, what goes up, and the receipts to acknowledge once all
that is committed. When the journal cannot follow, `submit` blocks, the inbox fills, and the sources are told to wait.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge_runtime.batch import Batch
from edge_runtime.clock import Clock
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.errors import JournalError
from edge_runtime.gateway.assigned import Effect, apply
from edge_runtime.gateway.checkpoint import layout, pack_twins
from edge_runtime.gateway.inbox import GatewayInbox
from edge_runtime.gateway.layout import Layout
from edge_runtime.gateway.narrow import narrow
from edge_runtime.gateway.streams import Streams
from edge_runtime.gateway.twins import Advanced, Twins
from edge_runtime.intake.strangers import Strangers
from edge_runtime.journal.entries import pack_batch, pack_samples
from edge_runtime.journal.work import ASSIGNMENT, BUNDLE, OBSERVATIONS, SAMPLES, Checkpoint, Entry, Work
from edge_runtime.sources.source import Arrival, WaveformArrival

SECOND = 1_000_000_000
NEWS = "news"  # kind of entries: which occurrences and conditions the centre has been told of
MOST = 4000  # arrivals in one round
LONGEST_GATHER = 0.01  # seconds
CROWD = 500  # with so many waiting there is nothing to gather for
IDLE = 0.5  # seconds: the longest sleep
PATIENCE = 1.0  # seconds that a Work waits for room in the journal until it is tried again
LAST_TRIES = 10  # to hand over the last work when the gateway stops, each of a second

log = logging.getLogger(__name__)


class Submits(Protocol):
    """The part of the journal that the engine needs."""

    def submit(self, work: Work, timeout: float = PATIENCE) -> bool: ...


class Looks(Protocol):
    """What the gateway has to say about itself, see `watch`."""

    def look(self, engine: Engine) -> tuple[list[Outgoing], Any]:
        """Messages, and what the journal needs to repeat them (JSON; None: nothing)."""
        ...

    def repeat(self, news: Any) -> None: ...

    def state(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


@dataclass(frozen=True)
class EngineSettings:
    """Durations in seconds. `gather`: from one round to the next, at least, while little comes in.

    A checkpoint is written every `checkpoint_every`, and sooner when a restart would have to compute for `replay`.
    """

    gather: float = 0.003
    checkpoint_every: float = 60.0
    replay: float = 1.5
    state_every: float = 3600.0
    watch_every: float = 1.0


class Engine:
    """Advances `twins` (class → its twins) by what comes into `inbox`; not for use by several threads at once.

    `step` is one round; `run` goes round until `stop`, in a thread of its own, and raises what makes going on
    impossible. `healthy` tells whether what is made now can go up now, `clock_synced` whether UTC can be trusted.
    `position` is that of the entry written last; observations up to `cursor` have gone into blocks.
    """

    def __init__(
        self,
        twins: Mapping[str, Twins],
        streams: Mapping[str, Streams],
        inbox: GatewayInbox,
        journal: Submits,
        clock: Clock,
        settings: EngineSettings,
        *,
        healthy: Callable[[], bool] = lambda: True,
        clock_synced: Callable[[], bool] = lambda: True,
        watch: Looks | None = None,
    ) -> None:
        self.twins, self.streams = dict(twins), dict(streams)
        self.inbox, self.journal, self.clock, self.settings = inbox, journal, clock, settings
        self.healthy, self.clock_synced, self.watch = healthy, clock_synced, watch
        self.position = self.cursor = 0
        self.layouts: dict[str, list[Layout]] = {name: [layout(kind, 1)] for name, kind in self.twins.items()}
        self.counts: Counter[str] = Counter()
        self._strangers = Strangers()
        self.moved = clock.monotonic()
        self.busy = 0.0
        self._by_asset = {asset: kind for kind in self.twins.values() for asset in kind.machines.assets}
        self._calls: deque[Callable[[Work], None]] = deque()
        self._handing_over = threading.Lock()
        self._stopping = False
        self._written = -1  # position of the newest checkpoint
        self._written_busy = 0.0  # `busy` at that time
        self._checkpoint_due = self._watch_due = 0
        self._states_due = clock.monotonic() + int(settings.state_every * SECOND)

    # ------------------------------------------------------------------ the thread

    def run(self) -> None:
        """Until `stop`, which leaves a checkpoint; raises what the journal raises when it cannot go on."""
        began = ended = 0.0
        while not self._stopping:
            self.inbox.wait(self._pause())
            # A round costs as much as tens of arrivals, whatever it brings. So rounds take a third of the time at most,
            # and one begins no sooner than `gather` after the other. What comes alone does not wait.
            left = began + min(max(self.settings.gather, 3 * (ended - began)), LONGEST_GATHER) - time.perf_counter()
            if left > 0 and len(self.inbox) < CROWD:
                time.sleep(left)
            began = time.perf_counter()
            self.step()
            ended = time.perf_counter()
        while len(self.inbox):
            self.step()
        work = Work()
        self.send_states(work)
        self.checkpoint(work)
        self._submit(work)

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._stopping = True
        self.inbox.wake()

    def call(self, function: Callable[[Work], None]) -> None:
        """Have `function` called between two rounds, in the engine's thread; what it adds to the work is committed."""
        self._calls.append(function)
        self.inbox.wake()

    def step(self) -> None:
        """One round: all that has arrived, all that has become due."""
        work = Work()
        while self._calls:
            self._calls.popleft()(work)
        self._take_in(self.inbox.take(MOST), work)
        for name, twins in self.twins.items():
            self._advance(name, twins, work)
        self._look_after(work)
        self._submit(work)
        self.moved = self.clock.monotonic()

    def _pause(self) -> float:
        """Seconds until something is due although nothing arrives."""
        lane = self.lane()
        waits = [kind.intake.next_deadline() for kind in self.twins.values()]
        waits += [streams.deadline(lane) for streams in self.streams.values()]
        now = self.clock.monotonic()
        first = min((wait for wait in waits if wait is not None), default=now + int(IDLE * SECOND))
        return min(max((first - now) / SECOND, 0.0), IDLE)

    def _submit(self, work: Work) -> None:
        if not (work.entries or work.messages or work.receipts or work.checkpoint or work.cursor is not None):
            return
        tries = 0
        while not self.hand_over(work):  # no room: the disk is slow or full; the inbox fills meanwhile
            self.moved = self.clock.monotonic()
            tries += self._stopping
            if tries > LAST_TRIES:  # what is given up has been acknowledged to nobody
                raise JournalError("the gateway stops, and the disk takes nothing: what was not committed comes again")

    def hand_over(self, work: Work, timeout: float = PATIENCE) -> bool:
        """Submit `work`; False if there is no room within `timeout` seconds, or others wait for it.

        Works without entries may come from any thread. On a full disk this is all that the engine does, so that one
        that waited for its turn without end might not get it before the disk has room.
        """
        if not self._handing_over.acquire(timeout=timeout):
            return False
        try:
            return self.journal.submit(work, timeout)
        finally:
            self._handing_over.release()

    # ------------------------------------------------------------------ arrivals and observations

    def _take_in(self, arrivals: Iterable[Arrival | WaveformArrival], work: Work) -> None:
        for arrival in arrivals:
            twins = self._by_asset.get(arrival.asset)
            try:
                if twins is None:
                    self._refuse("unknown_asset", arrival, work)
                    self._strangers.see(arrival.source, "machine", arrival.asset, "machines.csv does not have it")
                elif isinstance(arrival, Arrival):
                    twins.intake.add(arrival)
                else:
                    twins.intake.add_waveform(arrival)
            except Exception:  # it must not come again and again
                self._refuse("faults", arrival, work)
                log.exception("an arrival of %.64s is left out", arrival.asset)

    def _refuse(self, reason: str, arrival: Arrival | WaveformArrival, work: Work) -> None:
        self.counts[reason] += 1
        if arrival.receipt is not None:
            work.receipts.append((arrival.source, arrival.receipt))

    def _advance(self, name: str, twins: Twins, work: Work) -> None:
        samples, receipts = twins.intake.take_samples()
        work.receipts += receipts
        now = self.clock.monotonic()
        if samples is not None:
            twins.heard[samples.rows] = now
            self.add_entry(work, SAMPLES, name, pack_samples(samples))
        for batch in twins.intake.ready():
            work.receipts += batch.receipts
            for advanced in self._attempt(twins, batch):
                twins.hear(advanced.batch, now)
                self._write(name, twins, advanced, work)

    def _attempt(self, twins: Twins, batch: Batch) -> Iterator[Advanced]:
        """Advance `batch`; if the graph fails, in halves, so that one bad observation costs no other one."""
        began = time.perf_counter()
        try:
            advanced = twins.advance(batch)
        except Exception as error:  # onnxruntime has no common base for what it raises
            if len(batch.rows) == 1:
                twins.counts["failed"] += 1
                asset, when = twins.machines.assets[batch.rows[0]], int(batch.time[0])
                log.error("the graph fails at observation of %s at %d, which is left out: %s", asset, when, error)
                return
            first = np.arange(len(batch.rows)) < len(batch.rows) // 2
            yield from self._attempt(twins, narrow(batch, first))
            yield from self._attempt(twins, narrow(batch, ~first))
            return
        self.busy += time.perf_counter() - began
        if advanced is not None:
            yield advanced

    def _write(self, name: str, twins: Twins, advanced: Advanced, work: Work) -> None:
        """Journal what has been advanced, and all that follows from it."""
        self.counts["batches"] += 1
        twins.counts["observations"] += len(advanced.batch.rows)
        position = self.add_entry(work, OBSERVATIONS, name, pack_batch(advanced.batch))
        try:
            synced = self.clock_synced()
            alarms = twins.alarms(advanced, synced)
            if alarms:
                work.messages += alarms
                work.urgent = True
                self.add_entry(work, NEWS, name, json.dumps(twins.occurrences.take_news()).encode())
            work.messages += self.streams[name].add(position, advanced, self.clock.monotonic(), synced)
        except Exception:  # the states have moved on: whatever else is wrong, the journal must follow them
            self.counts["faults"] += 1
            log.exception("what follows from a batch of class '%s' is left out", name)

    def repeat(self, name: str, batch: Batch, position: int, *, in_blocks: bool) -> int:
        """Advance a batch that stands in the journal, after a restart; how many observations that were."""
        count = 0
        for advanced in self._attempt(self.twins[name], batch):
            count += len(advanced.batch.rows)
            try:
                self.streams[name].repeat(position, advanced, self.clock.monotonic(), in_blocks=in_blocks)
            except Exception:  # as in `_write`: else what cost one batch its summary would end each later start
                self.counts["faults"] += 1
                log.exception("what follows from a batch of class '%s' is left out", name)
        return count

    def add_entry(self, work: Work, kind: str, name: str, body: bytes) -> int:
        """The next entry of the journal; its position."""
        self.position += 1
        model_id = self.twins[name].model_id if name in self.twins else ""
        work.entries.append(Entry(self.position, kind, name, model_id, body))
        return self.position

    # ------------------------------------------------------------------ what becomes due

    def lane(self) -> Lane:
        """For what is made now and is no alarm."""
        return Lane.LIVE if self.healthy() else Lane.BACKFILL

    def _look_after(self, work: Work) -> None:
        now, lane = self.clock.monotonic(), self.lane()
        if now >= self._watch_due and self.watch is not None:
            self._watch_due = now + int(self.settings.watch_every * SECOND)
            messages, news = self.watch.look(self)
            work.messages += messages
            if news is not None:
                self.add_entry(work, NEWS, "", json.dumps(news).encode())
        if now >= self._states_due:
            self._states_due = now + int(self.settings.state_every * SECOND)
            self.send_states(work)
        due = now >= self._checkpoint_due or self.busy - self._written_busy >= self.settings.replay
        if due and (self.position > self._written or self._has_summaries()):
            self.checkpoint(work)
        elif any(streams.due(now, lane) for streams in self.streams.values()):
            self.flush(work)

    def _has_summaries(self) -> bool:
        """Intervals end by the clock, too, when all machines are silent."""
        utc = self.clock.utc()
        return any(streams.has_summaries(utc) for streams in self.streams.values())

    def flush(self, work: Work) -> None:
        """All that waits for blocks goes up: of all classes, for they share the cursor."""
        lane, synced = self.lane(), self.clock_synced()
        for streams in self.streams.values():
            work.messages += streams.flush(lane, synced)
        work.cursor = self.cursor = self.position

    def send_states(self, work: Work, assets: Collection[str] | None = None) -> None:
        """Snapshots of these twins, or of all, go up."""
        lane, utc, synced = self.lane(), self.clock.utc(), self.clock_synced()
        for streams in self.streams.values():
            work.messages += streams.states(lane, utc, synced, assets)

    def checkpoint(self, work: Work) -> None:
        """A restart goes on from here. Blocks and summaries up to here go with it, so that none is made twice."""
        self.flush(work)
        lane, utc, synced = self.lane(), self.clock.utc(), self.clock_synced()
        parts: dict[str, bytes] = {}
        for name, twins in self.twins.items():
            work.messages += self.streams[name].summaries(lane, utc, synced)
            parts |= pack_twins(name, twins, self.layouts[name], self.streams[name].state())
        if self.watch is not None:
            parts["watch"] = json.dumps(self.watch.state()).encode()
        work.checkpoint = Checkpoint(self.position, parts)
        self._written, self._written_busy = self.position, self.busy
        self._checkpoint_due = self.clock.monotonic() + int(self.settings.checkpoint_every * SECOND)

    # ------------------------------------------------------------------ what the centre tells

    def find(self, asset: str) -> tuple[str, Twins | None]:
        """Class and twins of a machine; None: it is not here."""
        for name, twins in self.twins.items():
            if asset in twins.fleet.index:
                return name, twins
        return "", None

    def assign(self, name: str, effect: Effect, work: Work) -> None:
        """A machine of class `name` goes on as the centre wants it; between two rounds only."""
        apply(self.twins[name], effect)  # first: what raised here would raise at each start, were it in the journal
        self.add_entry(work, ASSIGNMENT, name, effect.pack())

    # ------------------------------------------------------------------ another bundle

    def replace(self, name: str, twins: Twins, streams: Streams, work: Work) -> None:
        """Class `name` goes on with `twins`, which know all that the old ones did; between two rounds only."""
        self.flush(work)
        work.messages += streams.follow(self.streams[name], self.lane(), self.clock.utc(), self.clock_synced())
        self.twins[name], self.streams[name] = twins, streams
        for asset in twins.machines.assets:
            self._by_asset[asset] = twins
        self.add_entry(work, BUNDLE, name, b"")
        new = layout(twins, self.position)
        if not new.same(self.layouts[name][-1]):
            self.layouts[name].append(new)
        self.send_states(work)
        self.checkpoint(work)
