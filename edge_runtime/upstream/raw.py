"""Which waveforms go up as they are: those around something odd, or all, or none. The rest stays beside the machine."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.batch import Batch
from edge_runtime.contract import waveform
from edge_runtime.contract.message import Outgoing

_DAY = 86_400_000_000_000
_FORMAT = 1
# One snapshot that was taken: the entry of the journal that holds it, the key and times of its observation.
_TAKEN = np.dtype(
    [("position", "<i8"), ("term", "<i8"), ("number", "<i8"), ("time", "<i8"), ("t_rx", "<i8"), ("sent", "?")]
)


@dataclass(frozen=True)
class RawSettings:
    """With `anomalies`, an observation is odd if its alarm is at least `alarm` or its anomaly score above `score`.

    Sent are the snapshot of an odd observation, the `before` ones before it and the `after` ones after it, for each
    machine and channel at most `per_day` in a day (UTC): an alarm that stands for weeks tells little new each hour.
    """

    which: Literal["anomalies", "all", "none"] = "anomalies"
    alarm: int = 1
    score: float = 0.999
    before: int = 2
    after: int = 2
    per_day: int = 144


class RawSelector:
    """Chooses among the waveforms `channels` of the machines in `assets`, each snapshot at most once.

    `fetch(position)` gives the batch of observations that was journalled there, in rows of the present fleet, None if
    it is not kept any more. `counts`: snapshots seen and sent, their bytes before packing (`seen_bytes`, `sent_bytes`),
    the bytes of the messages (`message_bytes`), and snapshots that were `gone`, `over_budget` or `too_large`.
    """

    def __init__(
        self,
        assets: Sequence[str],
        channels: Sequence[str],
        settings: RawSettings,
        fetch: Callable[[int], Batch | None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._assets, self._settings, self._fetch = tuple(assets), settings, fetch
        self._channels = {name: _Channel(len(self._assets), settings.before) for name in channels}

    def update(
        self,
        position: int,
        batch: Batch,
        terms: I64,
        numbers: I64,
        outputs: Mapping[str, Array],
        *,
        model_id: str | None = None,
        largest: int = waveform.LARGEST_PART,
        clock_synced: bool = True,
    ) -> list[Outgoing]:
        """Messages that these observations give reason to send, to be committed with them.

        All observations of `batch`, journalled at `position`, are accepted; `terms` and `numbers` int64[B] are theirs,
        `outputs` what the fleet said. A packet will have at most `largest` bytes.
        """
        messages: list[Outgoing] = []
        for name, key, samples in self._choose(position, batch, terms, numbers, outputs, send=True):
            try:
                parts = waveform.split(
                    samples,
                    asset=self._assets[key.machine],
                    channel=name,
                    term=key.term,
                    number=key.number,
                    t=key.time,
                    t_rx=key.t_rx,
                    largest=largest,
                    model_id=model_id,
                    clock_synced=clock_synced,
                )
            except ValueError:
                self.counts["too_large"] += 1
                continue
            self.counts["sent"] += 1
            self.counts["sent_bytes"] += samples.nbytes
            self.counts["message_bytes"] += sum(len(part.body) for part in parts)
            messages += parts
        return messages

    def repeat(self, position: int, batch: Batch, terms: I64, numbers: I64, outputs: Mapping[str, Array]) -> None:
        """The same after a restart, for observations whose messages were committed."""
        self._choose(position, batch, terms, numbers, outputs, send=False)

    def state(self) -> bytes:
        """For a checkpoint."""
        about = {"format": _FORMAT, "assets": self._assets, "before": self._settings.before}
        columns: dict[str, Any] = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        for name, channel in self._channels.items():
            columns |= {f"{name}.{part}": column for part, column in vars(channel).items()}
        file = io.BytesIO()
        np.savez(file, **columns)
        return file.getvalue()

    def restore(self, state: bytes) -> bool:
        """Continue from `state`, machine by machine; False, and nothing done, if it was made by other settings."""
        with np.load(io.BytesIO(state), allow_pickle=False) as columns:
            about = json.loads(columns["about"].tobytes())
            if about["format"] != _FORMAT or about["before"] != self._settings.before:
                return False
            places = {asset: row for row, asset in enumerate(about["assets"])}
            known = [(row, places[asset]) for row, asset in enumerate(self._assets) if asset in places]
            mine, theirs = np.array(known, np.int64).reshape(-1, 2).T
            for name, channel in self._channels.items():
                for part, column in vars(channel).items():
                    if f"{name}.{part}" in columns:
                        column[mine] = columns[f"{name}.{part}"][theirs]
        return True

    def _choose(
        self, position: int, batch: Batch, terms: I64, numbers: I64, outputs: Mapping[str, Array], *, send: bool
    ) -> list[tuple[str, _Key, F32]]:
        """Channel, key and samples of each snapshot to send; none are looked up unless they shall be `send`t."""
        if not self._channels:
            return []
        odd = self._odd(outputs, len(batch.rows))
        chosen: list[tuple[str, _Key, F32]] = []
        batches: dict[int, Batch | None] = {}
        for name, channel in self._channels.items():
            samples, row = batch.waveforms.get(name, (np.zeros((0, 1, 1), np.float32), np.zeros(0, np.int64)))
            if send:
                self.counts["seen"] += len(row)
                self.counts["seen_bytes"] += samples.nbytes
            if self._settings.which == "none":
                continue
            if odd.any() and self._settings.which == "anomalies":
                for machine, t_rx in zip(batch.rows[odd].tolist(), batch.t_rx[odd].tolist(), strict=True):
                    earlier = self._earlier(channel, machine, t_rx)
                    if send:
                        chosen += self._look_up(name, earlier, batches)
                channel.left[batch.rows[odd]] = self._settings.after
            for k, i in enumerate(row.tolist()):
                key = _Key(*(int(column[i]) for column in (batch.rows, terms, numbers, batch.time, batch.t_rx)))
                wanted = self._is_wanted(channel, key, odd=bool(odd[i]))
                channel.push(key, position, sent=wanted)
                if wanted:
                    chosen.append((name, key, samples[k]))
        return chosen

    def _odd(self, outputs: Mapping[str, Array], count: int) -> Bool:
        odd: Bool = np.zeros(count, np.bool_)
        if "alarm" in outputs:
            odd |= outputs["alarm"] >= self._settings.alarm
        if "anomaly_score" in outputs:
            odd |= outputs["anomaly_score"] > self._settings.score
        return odd

    def _is_wanted(self, channel: _Channel, key: _Key, *, odd: bool) -> bool:
        if self._settings.which == "all":
            return True
        if not odd:
            if channel.left[key.machine] <= 0:
                return False
            channel.left[key.machine] -= 1
        return self._may_send(channel, key.machine, key.t_rx)

    def _earlier(self, channel: _Channel, machine: int, t_rx: int) -> list[tuple[int, _Key]]:
        """Position and key of the snapshots before an odd observation that were not sent, the oldest first."""
        found = []
        for place in np.flatnonzero((channel.taken[machine]["position"] > 0) & ~channel.taken[machine]["sent"]):
            if self._may_send(channel, machine, t_rx):
                one = channel.taken[machine, place]
                key = _Key(machine, *(int(one[name]) for name in ("term", "number", "time", "t_rx")))
                found.append((int(one["position"]), key))
                channel.taken[machine, place]["sent"] = True
        return found

    def _may_send(self, channel: _Channel, machine: int, t_rx: int) -> bool:
        day = t_rx // _DAY
        if channel.day[machine] != day:
            channel.day[machine], channel.used[machine] = day, 0
        if channel.used[machine] >= self._settings.per_day:
            self.counts["over_budget"] += 1
            return False
        channel.used[machine] += 1
        return True

    def _look_up(
        self, name: str, earlier: Sequence[tuple[int, _Key]], batches: dict[int, Batch | None]
    ) -> list[tuple[str, _Key, F32]]:
        """Snapshots out of the journal's history."""
        found = []
        for position, key in earlier:
            if position not in batches:
                batches[position] = self._fetch(position)
            samples = _snapshot(batches[position], name, key.machine)
            if samples is None:
                self.counts["gone"] += 1
            else:
                found.append((name, key, samples))
        return found


@dataclass(frozen=True)
class _Key:
    """Whose snapshot: the machine's place in the fleet, term and number of the observation, its times."""

    machine: int
    term: int
    number: int
    time: int
    t_rx: int


class _Channel:
    """What is remembered of one channel, for N machines: the last snapshots taken, how many are still to be sent after
    something odd, and how many were sent on that day."""

    def __init__(self, machines: int, before: int) -> None:
        self.taken = np.zeros((machines, before), _TAKEN)
        self.left = np.zeros(machines, np.int64)
        self.day = np.zeros(machines, np.int64)
        self.used = np.zeros(machines, np.int64)

    def push(self, key: _Key, position: int, *, sent: bool) -> None:
        taken = self.taken[key.machine]
        if len(taken):
            taken[:-1] = taken[1:].copy()
            taken[-1] = (position, key.term, key.number, key.time, key.t_rx, sent)


def _snapshot(batch: Batch | None, name: str, machine: int) -> F32 | None:
    """That of a machine in a batch, f32[axes, N]."""
    if batch is None or name not in batch.waveforms:
        return None
    samples, row = batch.waveforms[name]
    found = np.flatnonzero(batch.rows[row] == machine)
    return samples[found[0]] if len(found) else None
