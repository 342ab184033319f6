"""Waveforms that wait for the observation they belong to. An observation takes the newest of each channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.manifest import Waveform
from edge_runtime.sources.source import Source, WaveformArrival

Receipt = tuple[Source, Any]
MOST = 64  # that wait of one channel of one machine
MOST_BYTES = 64 << 20  # of all that wait: beyond, one of each channel of each machine


class _Waiting(NamedTuple):
    """`arrival` goes with the first observation from `at` on; it waits since `since`, monotonic nanos."""

    at: int
    arrival: WaveformArrival
    since: int


class Snapshots:
    """Of all machines of a class. `used`: the newest time that went into an observation, by (machine, channel)."""

    def __init__(self, waveforms: Sequence[Waveform]) -> None:
        self.shapes = {waveform.name: (len(waveform.axes), waveform.samples) for waveform in waveforms}
        self.used: dict[tuple[int, str], int] = {}
        self._bytes = 0
        self._waiting: dict[int, dict[str, list[_Waiting]]] = {}

    def add(self, row: int, at: int, arrival: WaveformArrival, now: int) -> list[WaveformArrival]:
        """Keep `arrival` for the first observation from `at` on; returns those that it makes superfluous."""
        waiting = self._waiting.setdefault(row, {}).setdefault(arrival.channel, [])
        same = [other for other in waiting if other.at == at]
        waiting[:] = [other for other in waiting if other.at != at]
        ranked = sorted([*same, _Waiting(at, arrival, now)], key=lambda one: one.arrival.time)
        waiting.append(ranked.pop())
        waiting.sort(key=lambda one: one.at)
        self._bytes += arrival.samples.nbytes
        if len(waiting) > MOST or (len(waiting) > 1 and self._bytes > MOST_BYTES):
            ranked.append(waiting.pop(0))
        return self._released(ranked)

    def expire(self, before: int) -> list[WaveformArrival]:
        """Give up those that have waited since before `before`: their machine makes no observations."""
        old: list[_Waiting] = []
        for row, channels in list(self._waiting.items()):
            for waiting in channels.values():
                old += (one for one in waiting if one.since < before)
                waiting[:] = [one for one in waiting if one.since >= before]
            if not any(channels.values()):
                del self._waiting[row]
        return self._released(old)

    def take(self, rows: I64, time: I64) -> tuple[Mapping[str, tuple[F32, I64]], list[Receipt], int]:
        """The waveforms of observations of distinct machines, the receipts, and how many waveforms a newer one beat."""
        if not self._waiting:
            return {}, [], 0
        found: dict[str, tuple[list[F32], list[int]]] = {}
        receipts: list[Receipt] = []
        superseded = 0
        for i, (row, end) in enumerate(zip(rows.tolist(), time.tolist(), strict=True)):
            for name, waiting in self._waiting.get(row, {}).items():
                due = self._released([one for one in waiting if one.at <= end])
                if not due:
                    continue
                waiting[:] = [other for other in waiting if other.at > end]
                newest = max(due, key=lambda arrival: arrival.time)
                self.used[row, name] = newest.time
                samples, places = found.setdefault(name, ([], []))
                samples.append(newest.samples)
                places.append(i)
                superseded += len(due) - 1
                receipts += ((one.source, one.receipt) for one in due if one.receipt is not None)
            if row in self._waiting and not any(self._waiting[row].values()):
                del self._waiting[row]
        with np.errstate(over="ignore"):
            waveforms = {
                name: (np.stack(samples).astype(np.float32, copy=False), np.array(places, np.int64))
                for name, (samples, places) in found.items()
            }
        return waveforms, receipts, superseded

    def _released(self, waiting: Sequence[_Waiting]) -> list[WaveformArrival]:
        arrivals = [one.arrival for one in waiting]
        self._bytes -= sum(arrival.samples.nbytes for arrival in arrivals)
        return arrivals
