"""What one class's machines did in each interval (an hour, if not told otherwise): one row a machine with anything new.

Intervals are aligned to the UTC epoch and judged by the observations' own time, so a backlog is summed up as it
happened; classes that count cycles are judged by when an observation came. A machine's interval ends with its first
later observation, or once the clock has passed it by `grace`. What comes after that makes a second row for the same
interval; the rows add up.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.contract.rows import FLAGS, Keys, Summaries

SECOND = 1_000_000_000
QUALITY = "quality"
_FORMAT = 1


@dataclass(frozen=True)
class SummarySettings:
    """Seconds."""

    every: float = 3600.0
    grace: float = 60.0


class Summary:
    """Sums over the current interval of each machine in `assets`; an update costs as much as its batch is large.

    `outputs` are those of the graph, f32[B], whose last value a summary tells. `counts`: rows made, machines that had
    nothing new when an interval ended (`skipped`), and machines whose sums a checkpoint had and this fleet has not.
    """

    def __init__(
        self,
        asset_class: str,
        channels: Sequence[str],
        assets: Sequence[str],
        outputs: Sequence[str],
        settings: SummarySettings,
        *,
        by_arrival: bool = False,
    ) -> None:
        self._class, self._channels, self._assets = asset_class, tuple(channels), tuple(assets)
        self._outputs, self._by_arrival = tuple(outputs), by_arrival
        self._every, self._grace = int(settings.every * SECOND), int(settings.grace * SECOND)
        self._sums = _zeros(len(self._assets), len(self._channels), self._outputs)
        self._ended: list[tuple[I64, dict[str, Array]]] = []  # rows of the fleet, their sums
        self._told = -1  # the last interval of the clock whose silent machines were counted
        self.counts = {"rows": 0, "skipped": 0, "forgotten": 0}

    def update(
        self, rows: I64, time: I64, t_rx: I64, terms: I64, numbers: I64, readings: F32, outputs: Mapping[str, Array]
    ) -> None:
        """Accepted observations of distinct machines, all int64[B] or f32[B,…], and what the fleet said of them."""
        interval = (t_rx if self._by_arrival else time) // self._every
        sums = self._sums
        over = (sums["count"][rows] > 0) & (sums["interval"][rows] != interval)
        if over.any():
            self._end(rows[over])
        sums["interval"][rows] = interval
        sums["count"][rows] += 1
        given = ~np.isnan(readings)
        sums["received"][rows] += given
        sums["total"][rows] += np.where(given, readings, 0.0)
        sums["minimum"][rows] = np.fmin(sums["minimum"][rows], readings)
        sums["maximum"][rows] = np.fmax(sums["maximum"][rows], readings)
        for name, values in (("t", time), ("term", terms), ("number", numbers)):
            sums[name][rows] = values
        if "alarm" in outputs:
            sums["alarm"][rows] = np.maximum(sums["alarm"][rows], np.nan_to_num(outputs["alarm"]).astype(np.int64))
        if QUALITY in outputs and outputs[QUALITY].any():
            flags = np.nan_to_num(outputs[QUALITY]).astype(np.uint8)[..., None]
            sums["flags"][rows] += np.unpackbits(flags, axis=2, bitorder="little").sum(axis=1, dtype=np.int64)
        for name in self._outputs:
            if name in outputs:
                sums[_LAST + name][rows] = outputs[name]

    def has_ended(self, utc: int) -> bool:
        """Whether `take` would give rows."""
        current = (utc - self._grace) // self._every
        over = (self._sums["count"] > 0) & (self._sums["interval"] < current) if current != self._told else None
        return bool(self._ended) or (over is not None and bool(over.any()))

    def take(self, utc: int) -> Summaries | None:
        """The rows of all intervals that have ended by `utc` and were not taken yet; None when there are none."""
        current = (utc - self._grace) // self._every
        silent = self._sums["count"] == 0
        if current != self._told:  # lower: the clock was set back
            self.counts["skipped"] += int(np.count_nonzero(silent)) if 0 <= self._told < current else 0
            self._told = current
            self._end(np.flatnonzero(~silent & (self._sums["interval"] < current)))
        if not self._ended:
            return None
        rows = np.concatenate([rows for rows, _ in self._ended])
        sums = {name: np.concatenate([one[name] for _, one in self._ended]) for name in self._sums}
        self._ended = []
        self.counts["rows"] += len(rows)
        with np.errstate(invalid="ignore"):
            mean = (sums["total"] / sums["received"]).astype(np.float32)  # 0/0: nothing received, NaN
        return Summaries(
            self._class,
            Keys.of(self._assets, rows, sums["term"], sums["number"], sums["t"]),
            self._channels,
            sums["interval"] * self._every,
            (sums["interval"] + 1) * self._every,
            sums["count"],
            sums["received"].astype(np.int64),
            sums["minimum"],
            mean,
            sums["maximum"],
            sums["alarm"],
            sums["flags"],
            {name: sums[_LAST + name] for name in self._outputs},
        )

    def discard(self) -> None:
        """Forget the rows not taken: a replay made them again, and they had been committed."""
        self._ended = []

    def state(self) -> bytes:
        """The sums for a checkpoint. Take the ended rows first: they belong to the commit that writes it."""
        if self._ended:
            raise ValueError("summaries have ended and were not taken: take them before the checkpoint")
        about = {"format": _FORMAT, "assets": self._assets, "layout": self._layout(), "told": self._told}
        file = io.BytesIO()
        columns: dict[str, Any] = {**self._sums, _ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
        np.savez(file, **columns)
        return file.getvalue()

    def restore(self, state: bytes) -> bool:
        """Continue from `state`, machine by machine; False, and nothing done, if it sums up something else."""
        with np.load(io.BytesIO(state), allow_pickle=False) as columns:
            about = json.loads(columns[_ABOUT].tobytes())
            if about["format"] != _FORMAT or about["layout"] != self._layout():
                return False
            places = {asset: row for row, asset in enumerate(about["assets"])}
            known = [(row, places[asset]) for row, asset in enumerate(self._assets) if asset in places]
            mine, theirs = np.array(known, np.int64).reshape(-1, 2).T
            for name, column in self._sums.items():
                column[mine] = columns[name][theirs]
            self._told = about["told"]
            self.counts["forgotten"] += len(places) - len(known)
        return True

    def _layout(self) -> list[Any]:
        return [self._every, self._by_arrival, list(self._channels), list(self._outputs)]

    def _end(self, rows: I64) -> None:
        """The intervals of these machines are over."""
        if len(rows):
            self._ended.append((rows, {name: column[rows] for name, column in self._sums.items()}))
            fresh = _zeros(1, len(self._channels), self._outputs)
            for name, column in self._sums.items():
                column[rows] = fresh[name]


_LAST = "last."
_ABOUT = "about"


def _zeros(machines: int, channels: int, outputs: Sequence[str]) -> dict[str, Array]:
    """The sums of nothing."""
    sums: dict[str, Array] = {
        name: np.zeros(machines, np.int64) for name in ("interval", "count", "t", "term", "number", "alarm")
    }
    sums["received"] = np.zeros((machines, channels), np.int32)
    sums["total"] = np.zeros((machines, channels), np.float64)
    sums["minimum"] = np.full((machines, channels), np.nan, np.float32)
    sums["maximum"] = np.full((machines, channels), np.nan, np.float32)
    sums["flags"] = np.zeros((machines, FLAGS), np.int64)
    return sums | {_LAST + name: np.full(machines, np.nan, np.float32) for name in outputs}
