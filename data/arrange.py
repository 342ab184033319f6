"""The rows of one machine, as its source gave them → its observations: in order, each time once, in windows."""

import dataclasses

import numpy as np

from data.asset_class import AssetClass
from data.recording import Recording


def arrange(recording: Recording) -> tuple[Recording, int, int]:
    """Rows ascending in time, of equal times the first; and how many were duplicates, and came out of order."""
    time = recording.time
    if (np.diff(time) > 0).all():
        return recording, 0, 0
    out_of_order = int((time < np.maximum.accumulate(time)).sum())
    order = np.argsort(time, kind="stable")
    order = order[np.diff(time[order], prepend=time[order[0]] - 1) > 0]
    return take(recording, order), time.size - order.size, out_of_order


def take(recording: Recording, rows: np.ndarray) -> Recording:
    """The recording's `rows` int64[R], each at most once."""

    def pick(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    place = np.full(recording.time.size, -1)
    place[rows] = np.arange(rows.size)
    waveforms = {}
    for name, (row, samples) in recording.waveforms.items():
        kept = np.flatnonzero(place[row] >= 0)
        kept = kept[np.argsort(place[row[kept]], kind="stable")]
        if kept.size:
            waveforms[name] = (place[row[kept]], samples[kept])
    return dataclasses.replace(
        recording,
        time=recording.time[rows],
        channels={name: values[rows] for name, values in recording.channels.items()},
        age=pick(recording.age),
        life=pick(recording.life),
        event=pick(recording.event),
        waveforms=waveforms,
    )


def assemble(cls: AssetClass, recording: Recording) -> Recording:
    return recording
