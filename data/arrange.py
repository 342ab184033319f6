"""The rows of one machine, as its source gave them → its observations: in order, each time once, in windows."""

import dataclasses

import numpy as np

from data.asset_class import AssetClass
from data.lives import starts
from data.recording import End, Recording
from edge_runtime.assembly import Rule, Rules, assemble_table, window_end
from edge_runtime.contract.event import Event


def arrange(recording: Recording) -> tuple[Recording, int, int]:
    """Rows ascending in time, those of equal time merged: of each channel the first value received counts.

    Returns how many rows lost a value to an earlier one of their time, and how many came out of order, too.
    """
    time = recording.time
    if (np.diff(time) > 0).all():
        return recording, 0, 0
    out_of_order = int((time < np.maximum.accumulate(time)).sum())
    order = np.argsort(time, kind="stable")
    times, group = np.unique(time[order], return_inverse=True)
    lost = np.zeros(time.size, dtype=bool)

    def merge(values: np.ndarray) -> np.ndarray:
        received = np.flatnonzero(~np.isnan(values[order]))
        groups, first = np.unique(group[received], return_index=True)
        lost[np.delete(received, first)] = True
        merged = np.full(times.size, np.nan, dtype=values.dtype)
        merged[groups] = values[order][received[first]]
        return merged

    first_row = order[np.unique(group, return_index=True)[1]]
    event = recording.event
    if event is not None:
        event = np.zeros(times.size, dtype=np.int8)
        for kind in (Event.SENSOR_REPLACED, Event.NEW_LIFE):  # which outweighs the other
            event[group[recording.event[order] == kind]] = kind
    place = np.empty(time.size, dtype=np.int64)
    place[order] = group
    arranged = dataclasses.replace(
        recording,
        time=times,
        channels={name: merge(values) for name, values in recording.channels.items()},
        age=None if recording.age is None else merge(recording.age),
        life=None if recording.life is None else recording.life[first_row],
        event=event,
        waveforms=_place(recording, place, last=False),
    )
    return arranged, int(lost.sum()), out_of_order


def assemble(cls: AssetClass, recording: Recording) -> Recording:
    """The arranged rows of one machine as observations of its class, by the rules that the gateway follows.

    An observation carries the time of its window's end, so a failure within the last window of a life moves there.
    Empty windows between two lives are left out: there was no machine to observe.
    """
    if not (cls.time.assemble and cls.time.unit == "s") or getattr(cls.source, "observed", False):
        return recording
    rules, columns = _rules_and_columns(cls, recording)
    assembled = assemble_table(rules, recording.time, columns)
    begins = starts(recording)[1:]
    idle_from, idle_until = window_end(recording.time[begins - 1], rules.interval), recording.time[begins]
    begun = window_end(recording.time[begins], rules.interval)
    between = np.searchsorted(idle_from, assembled.time) - 1  # the newest life whose last window is over
    idle = (between >= 0) & (assembled.time < np.append(idle_until, 0)[between])
    time = assembled.time[~idle]
    newest = np.searchsorted(recording.time, time, side="right") - 1  # row, of each observation
    age = recording.age
    if age is not None:
        age = age[newest] + (time - recording.time[newest]) / 1e9 / cls.time_units_per_life_unit
    return dataclasses.replace(
        recording,
        time=time,
        channels={name: assembled.readings[~idle, i] for i, name in enumerate(cls.scalars)},
        age=age,
        life=None if recording.life is None else recording.life[newest],
        event=None if recording.event is None else _events(recording.event, recording.time, time),
        ends=tuple(_moved(end, recording.time, begun, rules.interval) for end in recording.ends),
        waveforms=_place(recording, np.searchsorted(time, recording.time), last=True),
    )


def _rules_and_columns(cls: AssetClass, recording: Recording) -> tuple[Rules, np.ndarray]:
    """What to assemble and how. A snapshot makes an observation too: a last column says where there is one."""
    rules = Rules.of(cls.time, [(name, cls.channels[name]) for name in cls.scalars])
    rules = dataclasses.replace(rules, channels=(*rules.channels, Rule("snapshot", "last", rules.interval)))
    columns = np.full((recording.time.size, len(rules.channels)), np.nan, dtype=np.float32)
    for i, name in enumerate(cls.scalars):
        columns[:, i] = recording.channels[name]
    for row, _ in recording.waveforms.values():
        columns[row, -1] = 1
    return rules, columns


def _events(event: np.ndarray, source: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Events at the first observation that knows of them; a new life outweighs a replaced sensor."""
    moved = np.zeros(time.size, dtype=np.int8)
    for kind in (Event.SENSOR_REPLACED, Event.NEW_LIFE):
        moved[np.searchsorted(time, source[event == kind])] = kind
    return moved


def _moved(end: End, source: np.ndarray, begun: np.ndarray, interval: int) -> End:
    """`end` at the end of its window, unless the next life begins in that window: its observation is the new life's."""
    before = source[: np.searchsorted(source, end.time, side="right")]
    if not before.size:
        return end
    window = int(window_end(before[-1:], interval)[0])
    return end if window in begun else End(max(end.time, window), end.kind)


def _place(recording: Recording, place: np.ndarray, last: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Snapshots at their new rows `place[old row]`; of several that meet, the first or the `last`."""
    waveforms = {}
    for name, (row, samples) in recording.waveforms.items():
        rows = place[row]
        order = np.argsort(rows, kind="stable")
        kept = np.diff(rows[order], append=-1) != 0 if last else np.diff(rows[order], prepend=-1) != 0
        waveforms[name] = (rows[order][kept], samples[order[kept]])
    return waveforms
