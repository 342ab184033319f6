"""What goes up about the twins of one class besides alarms: blocks, summaries, states, waveforms of odd moments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge_runtime.arrays import I64
from edge_runtime.batch import Batch
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.contract.rows import Keys, Rows, States
from edge_runtime.gateway.twins import Advanced, Twins
from edge_runtime.upstream.blocks import BlockBuilder, BlockSettings
from edge_runtime.upstream.raw import RawSelector, RawSettings
from edge_runtime.upstream.split import messages
from edge_runtime.upstream.summary import Summary, SummarySettings

_NOT_SUMMED = ("alarm", "tick")
_NONE = np.zeros((0, 0, 0), np.float32)  # features go up in blocks, and waveforms would fill the memory meanwhile
_FOREVER = 1 << 62
_RECENT = 16 << 20  # bytes of waveforms that may not be committed yet, and are kept for `RawSelector`


@dataclass(frozen=True)
class StreamSettings:
    """`largest`: bytes of a block, packed; `packet`: of a whole packet, for parts of waveforms."""

    blocks: BlockSettings = field(default_factory=BlockSettings)
    summary: SummarySettings = field(default_factory=SummarySettings)
    raw: RawSettings = field(default_factory=RawSettings)
    largest: int = 126 << 10
    packet: int = 128 << 10


class Streams:
    """Follows every accepted observation of `twins`; one of these to a model: a swap makes a new one.

    `fetch(position)` gives a batch that is committed, in rows of the present fleet, None if it is not kept any more.
    """

    def __init__(self, twins: Twins, settings: StreamSettings, fetch: Callable[[int], Batch | None]) -> None:
        contract = twins.bundle.contract
        self._twins, self._settings = twins, settings
        self._class, self._assets, self._term = contract.asset_class, twins.machines.assets, twins.machines.term
        self._builder = BlockBuilder(self._class, twins.model_id, twins.channels, self._assets, settings.blocks)
        widths = twins.fleet.step.widths
        scalars = [name for name, shape in widths.items() if shape == () and name not in _NOT_SUMMED]
        self._summary = Summary(
            self._class,
            twins.channels,
            self._assets,
            scalars,
            settings.summary,
            by_arrival=contract.time.unit != "s",
        )
        self._recent: OrderedDict[int, Batch] = OrderedDict()  # position → batch with waveforms
        self._recent_bytes = 0
        self._raw = RawSelector(
            self._assets,
            [waveform.name for waveform in contract.waveforms],
            settings.raw,
            lambda position: self._recent.get(position) or fetch(position),
        )

    def add(self, position: int, advanced: Advanced, now: int, clock_synced: bool) -> list[Outgoing]:
        """Observations journalled at `position`; what goes up at once, to be committed with them."""
        terms = self._follow(position, advanced, now, in_blocks=True)
        if advanced.batch.waveforms:
            self._keep(position, advanced.batch)
        return self._raw.update(
            position,
            advanced.batch,
            terms,
            advanced.numbers,
            advanced.outputs,
            model_id=self._twins.model_id,
            largest=self._settings.packet,
            clock_synced=clock_synced,
        )

    def repeat(self, position: int, advanced: Advanced, now: int, *, in_blocks: bool) -> None:
        """The same after a restart. `in_blocks` False: a block that is committed holds these observations."""
        terms = self._follow(position, advanced, now, in_blocks=in_blocks)
        self._raw.repeat(position, advanced.batch, terms, advanced.numbers, advanced.outputs)

    def _follow(self, position: int, advanced: Advanced, now: int, *, in_blocks: bool) -> I64:
        batch, numbers, outputs = advanced.batch, advanced.numbers, advanced.outputs
        terms: I64 = self._term[batch.rows]
        if in_blocks:
            slim = replace(batch, waveforms={name: (_NONE, row) for name, (_, row) in batch.waveforms.items()})
            self._builder.add(position, slim if batch.waveforms else batch, terms, numbers, outputs, now)
        self._summary.update(batch.rows, batch.time, batch.t_rx, terms, numbers, batch.readings, outputs)
        return terms

    def _keep(self, position: int, batch: Batch) -> None:
        self._recent[position] = batch
        self._recent_bytes += _waveform_bytes(batch)
        while self._recent_bytes > _RECENT:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= _waveform_bytes(oldest)

    def due(self, now: int, lane: Lane) -> bool:
        """Whether it is time to `flush`."""
        return self._builder.due(now, lane)

    def deadline(self, lane: Lane) -> int | None:
        """When it will be, monotonic nanos; None: nothing waits."""
        return self._builder.deadline(lane)

    def flush(self, lane: Lane, clock_synced: bool) -> list[Outgoing]:
        """All that waits to go up, as blocks."""
        return self._builder.flush(lane, largest=self._settings.largest, clock_synced=clock_synced)

    def summaries(self, lane: Lane, utc: int, clock_synced: bool) -> list[Outgoing]:
        """Of intervals that have ended. To be committed with a checkpoint: a replay from it makes the same ones."""
        rows = self._summary.take(utc)
        return [] if rows is None else self._messages(rows, lane, utc, clock_synced)

    def has_summaries(self, utc: int) -> bool:
        """Whether there are any."""
        return self._summary.has_ended(utc)

    def states(self, lane: Lane, utc: int, clock_synced: bool, assets: Collection[str] | None = None) -> list[Outgoing]:
        """The states of these twins, or of all, that have seen something."""
        fleet = self._twins.fleet
        rows = np.flatnonzero(fleet.number)
        if assets is not None:
            rows = np.array([row for row in rows.tolist() if self._assets[row] in assets], np.int64)
        if not len(rows):
            return []
        keys = Keys.of(self._assets, rows, self._term[rows], fleet.number[rows], fleet.time[rows])
        return self._messages(States(self._class, keys, fleet.state[rows]), lane, utc, clock_synced)

    def state(self) -> dict[str, bytes]:
        """For a checkpoint, made right after `flush` and `summaries`."""
        return {"summary": self._summary.state(), "raw": self._raw.state()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Continue from a `state`, as far as it is of the same channels and settings."""
        if "summary" in parts:
            self._summary.restore(parts["summary"])
        if "raw" in parts:
            self._raw.restore(parts["raw"])

    def follow(self, old: Streams, lane: Lane, utc: int, clock_synced: bool) -> list[Outgoing]:
        """Go on where `old`, of another model, is, which has been flushed; the summaries that cannot go on end here."""
        ended = old.summaries(lane, utc, clock_synced)
        state = old.state()
        if not self._summary.restore(state["summary"]):
            ended += old.summaries(lane, _FOREVER, clock_synced)
        self._raw.restore(state["raw"])
        self._recent, self._recent_bytes = old._recent, old._recent_bytes
        return ended

    def saved_bytes(self) -> tuple[int, int]:
        """Bytes of waveforms that came, and of the messages they made."""
        return self._raw.counts["seen_bytes"], self._raw.counts["message_bytes"]

    def _messages(self, rows: Rows, lane: Lane, utc: int, clock_synced: bool) -> list[Outgoing]:
        size = self._settings.blocks.limits(lane)[1]
        row = max(1, sum(array.nbytes for array in vars(rows).values() if isinstance(array, np.ndarray)))
        most = max(1, size * len(rows.keys) // row)
        return list(
            messages(
                rows,
                lane,
                utc,
                self._twins.model_id,
                most=most,
                largest=self._settings.largest,
                clock_synced=clock_synced,
            )
        )


def _waveform_bytes(batch: Batch) -> int:
    return sum(samples.nbytes for samples, _ in batch.waveforms.values())
