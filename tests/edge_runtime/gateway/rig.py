"""A small rig for tests of the gateway: a clock to turn, a source that sends again, a hub that keeps what it gets."""

import json
from collections import Counter

import numpy as np

from edge_runtime.bundle import Bundle
from edge_runtime.contract.message import BLOCK, Lane
from edge_runtime.contract.tables import unpack
from edge_runtime.errors import JournalError
from edge_runtime.gateway.engine import Engine, EngineSettings
from edge_runtime.gateway.history import observed_at
from edge_runtime.gateway.inbox import GatewayInbox
from edge_runtime.gateway.machines import Machines
from edge_runtime.gateway.recovery import resume
from edge_runtime.gateway.streams import Streams, StreamSettings
from edge_runtime.gateway.twins import Twins
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.sources.source import Arrival, SourceStatus, WaveformArrival
from edge_runtime.upstream.raw import RawSettings

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_767_225_600 * SECOND  # 2026-01-01


class TurnedClock:
    """Stands still until it is turned."""

    def __init__(self, now=START):
        self.now = now

    def utc(self):
        return self.now

    def monotonic(self):
        return self.now - START + SECOND

    def turn(self, seconds):
        self.now += int(seconds * SECOND)


class MemorySource:
    """Sends at least once, as QoS 1 does: what is not acknowledged comes again, in order, with `send_again`."""

    name, kind = "memory", "memory"

    def __init__(self):
        self.waiting = {}  # receipt → arrival, in order
        self.acknowledged = Counter()
        self.sent = 0
        self.inbox = None
        self.connected = True

    def start(self, inbox):
        self.inbox = inbox

    def stop(self):
        self.inbox = None

    def send(self, asset, time, values):
        return self._put(Arrival(asset, time, values, self, self._number()))

    def send_waveform(self, asset, channel, time, samples):
        return self._put(WaveformArrival(asset, channel, time, np.asarray(samples, np.float32), self, self._number()))

    def send_again(self):
        for arrival in list(self.waiting.values()):
            assert self.inbox.put(arrival)

    def acknowledge(self, receipts):
        for receipt in receipts:
            self.acknowledged[receipt] += 1
            self.waiting.pop(receipt, None)

    def status(self):
        return SourceStatus(self.name, self.kind, self.connected, "")

    def check(self):
        return []

    def _number(self):
        self.sent += 1
        return self.sent

    def _put(self, arrival):
        self.waiting[arrival.receipt] = arrival
        return self.inbox.put(arrival)


class Hub:
    """Keeps rows and bodies by business key; a key that comes twice under different transport keys is a fault."""

    def __init__(self):
        self.messages = {}  # (epoch, lane, seq) → message
        self.rows = {}  # (kind, asset, term, number) → row
        self.alarms = []
        self.events = []
        self.parts = []  # of waveforms

    def take(self, spooled):
        for one in spooled:
            key = one.epoch, one.message.lane, one.seq
            if key in self.messages:
                assert self.messages[key] == one.message
                continue
            self.messages[key] = one.message
            self._read(one.message)

    def _read(self, message):
        if message.kind == "waveform":
            self.parts.append(message)
            return
        if message.content != BLOCK:
            {"alarm": self.alarms, "event": self.events}[message.kind].append(json.loads(message.body))
            return
        rows = unpack(message.kind, message.body, message.size)
        for i in range(len(rows.keys)):
            key = message.kind, rows.keys.name(i), int(rows.keys.term[i]), int(rows.keys.number[i])
            if message.kind == "state":
                continue
            if message.kind == "summary":
                key = (*key, int(rows.start[i]))
            assert key not in self.rows, f"{key} came twice"
            self.rows[key] = _row(rows, i), message.model_id

    def of(self, kind, asset=None):
        """number → row, of one kind (and machine)."""
        return {key[3]: row for key, (row, _) in self.rows.items() if key[0] == kind and asset in (None, key[1])}


def _row(rows, i):
    if rows.kind == "observation":
        taken = {name: snapshot.features[snapshot.row == i] for name, snapshot in rows.waveforms.items()}
        features = {name: values.tobytes() for name, values in taken.items() if len(values)}
        values = (rows.readings[i], rows.event[i], rows.age[i])
        return int(rows.keys.t[i]), tuple(np.asarray(value).tobytes() for value in values), features
    outputs = {name: np.asarray(value[i]).tobytes() for name, value in rows.outputs.items()}
    if rows.kind == "summary":
        return int(rows.count[i]), rows.minimum[i].tobytes(), rows.mean[i].tobytes(), outputs
    return int(rows.keys.t[i]), outputs


def twins_of(folder, assets, clock, **options):
    """Twins of the bundle in `folder`."""
    bundle = Bundle.load(folder)
    settings = np.full((len(assets), bundle.step.settings), np.nan, np.float32)
    machines = Machines(tuple(assets), np.arange(len(assets), dtype=np.int64), settings)
    return Twins(bundle, machines, clock, 60 * SECOND, **options)


class Rig:
    """An engine with a real journal in `folder`; `source` and `hub` survive when it is `killed`."""

    def __init__(
        self,
        folder,
        bundles,
        clock,
        source=None,
        hub=None,
        *,
        checkpoint_every=300.0,
        replay=1e9,
        history_bytes=1 << 28,
        raw="anomalies",
        **options,
    ):
        self.folder, self.clock, self.closed = folder, clock, False
        self.source, self.hub = source or MemorySource(), hub or Hub()
        self.inbox = GatewayInbox()
        journal = JournalSettings(history_bytes=history_bytes)
        self.journal = Journal(folder / "journal.db", journal, SpoolSettings(), clock)
        self.stream_settings = StreamSettings(raw=RawSettings(raw))
        recovered = self.journal.open()
        kinds = {name: twins_of(path, assets, clock) for name, (path, assets) in bundles.items()}
        streams = {name: self.streams(name, twins) for name, twins in kinds.items()}
        settings = EngineSettings(gather=0, checkpoint_every=checkpoint_every, replay=replay)
        self.engine = Engine(kinds, streams, self.inbox, self.journal, clock, settings, **options)
        self.resumed = resume(self.engine, recovered)
        self.journal.start(self.hub.take)
        self.engine.step()  # the first checkpoint
        for lane in Lane:  # what was committed and never reached the hub
            self.hub.take(self.journal.read(lane, 0, 10**6, 1 << 40))
        self.source.start(self.inbox)
        self.source.send_again()

    def streams(self, name, twins):
        """What `twins` of class `name` send up."""
        return Streams(
            twins,
            self.stream_settings,
            lambda position: observed_at(self.journal, name, self.engine.layouts[name], twins, position),
        )

    def step(self):
        """One round, committed."""
        self.engine.step()
        assert self.journal.flush()

    def fleet(self, name="tiny"):
        return self.engine.twins[name].fleet

    def finish(self):
        """Stop in an orderly way."""
        self.engine.stop()
        self.engine.run()
        self.close()

    def close(self):
        if not self.closed:
            self.closed = True
            self.source.stop()
            self.journal.close()

    def reopen(self):
        """What a restart finds."""
        self.journal = Journal(self.folder / "journal.db", JournalSettings(), SpoolSettings(), self.clock)
        self.closed = False
        return self.journal.open()

    def kill(self, *, committed):
        """As SIGKILL does in the middle of the next commit, which has happened or not."""
        writer = self.journal._writer
        commit = writer.commit

        def die(*arguments):
            if committed:
                commit(*arguments)
            raise _KilledError

        writer.commit = die
        try:
            self.engine.step()
            self.journal.flush()
        except JournalError:
            pass
        self.close()


class _KilledError(Exception):
    pass
