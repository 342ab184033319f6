"""What goes up about the twins of one class besides alarms: blocks, summaries, states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.contract.rows import Keys, Rows, States
from edge_runtime.gateway.twins import Advanced, Twins
from edge_runtime.upstream.blocks import BlockBuilder, BlockSettings
from edge_runtime.upstream.split import messages
from edge_runtime.upstream.summary import Summary, SummarySettings

_NOT_SUMMED = ("alarm", "tick")
_NONE = np.zeros((0, 0, 0), np.float32)  # features go up in blocks, and waveforms would fill the memory meanwhile


@dataclass(frozen=True)
class StreamSettings:
    """`largest`: bytes of one message's body that the broker takes."""

    blocks: BlockSettings = field(default_factory=BlockSettings)
    summary: SummarySettings = field(default_factory=SummarySettings)
    largest: int = 1 << 20


class Streams:
    """Follows every accepted observation of `twins`; one of these to a model: a swap makes a new one."""

    def __init__(self, twins: Twins, settings: StreamSettings) -> None:
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

    def add(self, position: int, advanced: Advanced, now: int, *, in_blocks: bool = True) -> None:
        """Observations journalled at `position`; `in_blocks` False: a block that is committed holds them already."""
        batch, outputs = advanced.batch, advanced.outputs
        terms = self._term[batch.rows]
        if in_blocks:
            slim = replace(batch, waveforms={name: (_NONE, row) for name, (_, row) in batch.waveforms.items()})
            self._builder.add(position, slim if batch.waveforms else batch, terms, advanced.numbers, outputs, now)
        self._summary.update(batch.rows, batch.time, batch.t_rx, terms, advanced.numbers, batch.readings, outputs)

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

    def states(self, lane: Lane, utc: int, clock_synced: bool) -> list[Outgoing]:
        """The states of all twins that have seen something."""
        fleet = self._twins.fleet
        rows = np.flatnonzero(fleet.number)
        if not len(rows):
            return []
        keys = Keys.of(self._assets, rows, self._term[rows], fleet.number[rows], fleet.time[rows])
        return self._messages(States(self._class, keys, fleet.state[rows]), lane, utc, clock_synced)

    def state(self) -> dict[str, bytes]:
        """For a checkpoint, made right after `flush` and `summaries`."""
        return {"summary": self._summary.state()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        if "summary" in parts:
            self._summary.restore(parts["summary"])

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
