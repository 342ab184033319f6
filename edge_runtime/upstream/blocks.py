"""Observations and prognoses of one class gathered into blocks: many rows share one envelope and one compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.batch import Batch
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.contract.rows import Keys, Observations, Prognoses, Rows, Snapshots
from edge_runtime.upstream.split import messages

SECOND = 1_000_000_000
FEATURES = ".features"  # outputs of the graph with one row a snapshot


@dataclass(frozen=True)
class BlockSettings:
    """How large blocks get, and how long rows wait for others. `bytes` is before packing.

    Blocks that cannot go at once (`backfill_…`) are larger and fewer.
    """

    every: float = 2.0
    bytes: int = 256 << 10
    backfill_every: float = 60.0
    backfill_bytes: int = 512 << 10

    def limits(self, lane: Lane) -> tuple[int, int]:
        """Nanos, bytes."""
        live = lane in (Lane.ALARM, Lane.LIVE)
        every, size = (self.every, self.bytes) if live else (self.backfill_every, self.backfill_bytes)
        return int(every * SECOND), size


class _Added(NamedTuple):
    """Accepted observations of one batch."""

    batch: Batch
    terms: I64
    numbers: I64
    outputs: Mapping[str, F32]
    kept: Bool | None  # None: all


class BlockBuilder:
    """The rows of one class and one model since the last flush.

    A row is added when its observation is journalled, at `position`; `flush` gives messages with all rows so far.
    Commit them together with the cursor they reach: after a crash, the entries after the cursor are added again, and
    each row is in exactly one committed block. When there are several classes flush all at once, for they share the
    cursor. On a change of model: flush, then a new builder.
    """

    def __init__(
        self, asset_class: str, model_id: str, channels: Sequence[str], assets: Sequence[str], settings: BlockSettings
    ) -> None:
        self.rows = 0
        self.position: int | None = None  # of the newest rows in it
        self._class, self._model, self._channels = asset_class, model_id, tuple(channels)
        self._assets, self._settings = tuple(assets), settings
        self._added: list[_Added] = []
        self._since = 0
        self._row_bytes = 0

    def add(
        self,
        position: int,
        batch: Batch,
        terms: I64,
        numbers: I64,
        outputs: Mapping[str, Array],
        now: int,
        accepted: Bool | None = None,
    ) -> None:
        """The observations of `batch`, journalled at `position`, and what the fleet said about them.

        `terms` and `numbers` int64[B] are those of the batch's machines, `numbers` after the step. `outputs` and
        `accepted` are as `Fleet.advance` returned them: outputs of the accepted rows only. `now` is monotonic nanos.
        The arrays are kept, not copied: nobody may write to them afterwards.
        """
        kept = None if accepted is None or accepted.all() else accepted
        count = len(batch.rows) if kept is None else int(np.count_nonzero(kept))
        if count == 0:
            return
        if not self._added:
            self._since = now
            self._row_bytes = 44 + 4 * len(self._channels) + sum(v.nbytes // max(1, len(v)) for v in outputs.values())
        self._added.append(_Added(batch, terms, numbers, outputs, kept))
        self.rows += count
        self.position = position

    def due(self, now: int, lane: Lane) -> bool:
        """Whether it is time to flush: rows have waited long enough, or would fill a block of each kind."""
        every, size = self._settings.limits(lane)
        return self.rows > 0 and (now - self._since >= every or self.rows * self._row_bytes >= 2 * size)

    def deadline(self, lane: Lane) -> int | None:
        """When it will be due even if nothing is added, monotonic nanos."""
        return self._since + self._settings.limits(lane)[0] if self.rows else None

    def flush(self, lane: Lane, *, largest: int = 1 << 30, clock_synced: bool = True) -> list[Outgoing]:
        """All rows as blocks of observations and of prognoses, each of at most `largest` bytes packed.

        Rows of one machine lie side by side, in order of time: they resemble each other most, and pack best.
        """
        if not self._added:
            return []
        order, keys, t_rx = self._keys()
        _, size = self._settings.limits(lane)
        made: list[Rows] = [self._observations(order, keys, t_rx)]
        outputs = self._outputs(order)
        if outputs:
            made.append(Prognoses(self._class, keys, outputs))
        newest = int(t_rx.max())
        result: list[Outgoing] = []
        for rows in made:
            most = max(1, size // _bytes_of_row(rows))
            result += messages(rows, lane, newest, self._model, most=most, largest=largest, clock_synced=clock_synced)
        self._added, self.rows = [], 0
        return result

    def _keys(self) -> tuple[I64, Keys, I64]:
        """The order in which all rows go, their keys and when they came."""
        rows, t = self._joined(lambda a: a.batch.rows), self._joined(lambda a: a.batch.time)
        order = np.argsort(rows, kind="stable").astype(np.int64)
        terms, numbers = self._joined(lambda a: a.terms), self._joined(lambda a: a.numbers)
        keys = Keys.of(self._assets, rows[order], terms[order], numbers[order], t[order])
        return order, keys, self._joined(lambda a: a.batch.t_rx)[order]

    def _observations(self, order: I64, keys: Keys, t_rx: I64) -> Observations:
        return Observations(
            self._class,
            keys,
            self._channels,
            t_rx,
            self._joined(lambda a: a.batch.readings)[order],
            self._joined(lambda a: a.batch.event)[order],
            self._joined(lambda a: a.batch.age)[order],
            self._snapshots(order),
        )

    def _outputs(self, order: I64) -> dict[str, F32]:
        names = [name for name in self._added[0].outputs if not name.endswith(FEATURES)]
        return {name: np.concatenate([added.outputs[name] for added in self._added])[order] for name in names}

    def _snapshots(self, order: I64) -> dict[str, Snapshots]:
        """Features of waveforms, with the place of their observation in the block."""
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        found: dict[str, list[tuple[Array, F32]]] = {}
        start = 0
        for batch, terms, _, outputs, kept in self._added:
            for name, (_, row) in batch.waveforms.items():
                features = outputs.get(name + FEATURES)
                if features is None or not len(row):
                    continue
                if kept is not None:
                    row = (np.cumsum(kept) - 1)[row[kept[row]]]
                found.setdefault(name, []).append((place[start + row], features))
            start += len(terms) if kept is None else int(np.count_nonzero(kept))
        return {
            name: Snapshots(np.concatenate([row for row, _ in pairs]), np.concatenate([f for _, f in pairs]))
            for name, pairs in found.items()
        }

    def _joined(self, column: Any) -> Any:
        values = ((column(added), added.kept) for added in self._added)
        return np.concatenate([value if kept is None else value[kept] for value, kept in values])


def _bytes_of_row(rows: Rows) -> int:
    """Bytes of one row before packing, about."""
    arrays = [value for value in vars(rows).values() if isinstance(value, np.ndarray)]
    for value in vars(rows).values():
        if isinstance(value, Mapping):
            arrays += [item for item in value.values() if isinstance(item, np.ndarray)]
            arrays += [item.features for item in value.values() if isinstance(item, Snapshots)]
    return 28 + sum(array.nbytes for array in arrays) // max(1, len(rows.keys))
