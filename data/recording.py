"""What a reader hands over: the whole record of one machine, as the source tells it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class End:
    """A failure or repair of a machine at `time` (nanos)."""

    time: int
    kind: Literal["failure", "repair"]


@dataclass(frozen=True)
class Recording:
    """All rows of one machine, T of them, in the order of the source: neither sorted nor free of duplicates.

    Where a value is None or empty the source does not say, and the class decides.
    """

    asset: str
    time: np.ndarray  # int64[T] nanos
    channels: Mapping[str, np.ndarray]  # scalar channel → f32[T], NaN = not received
    age: np.ndarray | None = None  # f64[T], unit of life, NaN = unknown
    life: np.ndarray | None = None  # int64[T], any numbers that tell lives apart
    event: np.ndarray | None = None  # int8[T], edge_runtime.contract.event.Event
    waveforms: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # row i64[K], f32[K, axes*N]
    begins_new: bool | None = None  # the first row is that of a new or renewed machine
    ends: tuple[End, ...] = ()
    censored: bool | None = None  # the machine still ran when the record stopped
    held_out: bool = False  # the source's own test machine
    settings: Mapping[str, float] = field(default_factory=dict)
