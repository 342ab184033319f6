"""One row of values as it travels through the intake: which machine, when, when it came, and all channels, in bytes.

Twenty thousand rows a second are too many for an array each: a row is one `bytes` (0.5 µs), and a thousand of them
become one structured array at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np

from edge_runtime.arrays import Array

LONG_AGO = -(2**61)  # before all times; differences to it stay within int64


class Records:
    """Rows of `width` float32 values in native byte order: they never leave the process as they are.

    >>> records = Records(2)
    >>> records.array([records.pack(3, 60, 61, 1.5, 2.5)])["values"]
    array([[1.5, 2.5]], dtype=float32)
    """

    def __init__(self, width: int) -> None:
        layout = struct.Struct(f"@qqq{width}f")
        self.pack = layout.pack  # (machine, time, t_rx, *values) → bytes
        self.dtype = np.dtype(
            [("row", np.int64), ("time", np.int64), ("t_rx", np.int64), ("values", np.float32, width)]
        )

    def array(self, rows: Iterable[bytes]) -> Array:
        """The fields of many rows, read-only."""
        return np.frombuffer(b"".join(rows), self.dtype)

    def rows(self, array: Array) -> list[bytes]:
        """The rows of an array of this dtype."""
        packed, size = array.tobytes(), self.dtype.itemsize
        return [packed[at : at + size] for at in range(0, len(packed), size)]
