"""Some observations of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_runtime.arrays import I64, Bool
from edge_runtime.batch import Batch


def narrow(batch: Batch, keep: Bool, rows: I64 | None = None) -> Batch:
    """Only the observations of `batch` to `keep` bool[B]; `rows` int64[B]: under other row numbers."""
    place = np.cumsum(keep) - 1
    return replace(
        batch,
        rows=(batch.rows if rows is None else rows)[keep],
        time=batch.time[keep],
        readings=batch.readings[keep],
        event=batch.event[keep],
        age=batch.age[keep],
        waveforms={
            name: (samples[keep[position]], place[position][keep[position]])
            for name, (samples, position) in batch.waveforms.items()
        },
        t_rx=batch.t_rx[keep],
    )
