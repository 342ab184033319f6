"""What an OPC UA server reports, as arrivals. Nothing it may send makes this raise; what cannot be used is counted.

Times are the source's where the server gives them, else the server's, else of receipt (both counted). asyncua gives
microseconds. A bad status is refused, by its name; an uncertain one is accepted and counted.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.sources.opcua.library import load_ua
from edge_runtime.sources.opcua.settings import OpcuaValue, OpcuaWaveform
from edge_runtime.sources.source import Arrival, Source, WaveformArrival

Mapped = OpcuaValue | OpcuaWaveform
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)
_OVERFLOW = 0x0480  # info bits: of a data value; the server's queue was full, older values are lost


def arrivals(
    items: Iterable[tuple[Mapped, Any]], source: Source, now: int, counts: Counter[str], at: int | None = None
) -> list[Arrival | WaveformArrival]:
    """The (mapping, DataValue) of one notification, in the order of time; values of one machine and time in one.

    `now` is UTC nanos; `at`: the time at which all of them were seen to be so, as for values that were asked for.
    """
    gathered: dict[tuple[int, str], dict[str, float]] = {}
    waveforms: list[WaveformArrival] = []
    for mapped, data in items:
        if not _is_good(data, counts):
            continue
        time = _time(data, now, counts, at)
        value = data.Value.Value if data.Value is not None else None
        if isinstance(mapped, OpcuaWaveform):
            samples = to_samples(value, mapped)
            if samples is None:
                counts["not_a_waveform"] += 1
                continue
            waveforms.append(WaveformArrival(mapped.asset, mapped.channel, time, samples, source))
        elif not isinstance(value, int | float) or value != value:
            counts["not_a_number"] += 1
            continue
        elif mapped.channel in (values := gathered.setdefault((time, mapped.asset), {})):
            counts["duplicate"] += 1
            continue
        else:
            values[mapped.channel] = float(value) if abs(value) < 1e300 else float(np.sign(value) * np.inf)
        counts["received"] += 1
    scalars = [Arrival(asset, time, values, source) for (time, asset), values in gathered.items() if values]
    # A waveform goes before the values of its time: these may close the observation.
    return sorted([*waveforms, *scalars], key=lambda arrival: arrival.time)


def is_usable(data: Any) -> bool:
    """Whether there is a value, and its status is not bad."""
    return data.Value is not None and (data.StatusCode is None or int(data.StatusCode.value) >> 30 < 2)


def status_name(code: int) -> str:
    """The name of a status code: its upper half, as the standard lists them."""
    ua = load_ua()
    return str(ua.StatusCode(code & 0xFFFF0000).name)


def to_samples(value: Any, mapped: OpcuaWaveform) -> F32 | None:
    """f32[axes, N] of what a waveform's node holds, or None if that is no such thing."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or not array.size:
            return None
        across = 1 if mapped.layout == "interleaved" else 0
        if array.size % mapped.axes or (array.ndim == 2 and array.shape[across] != mapped.axes):
            return None
        with np.errstate(over="ignore"):
            samples = array.astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
    if mapped.layout == "interleaved":
        return np.ascontiguousarray(samples.reshape(-1, mapped.axes).T)
    return samples.reshape(mapped.axes, -1)


def to_nanos(when: Any) -> int | None:
    """UTC nanos of a datetime that asyncua made (naive ones are UTC); None for the standard's "no time", 1601."""
    if not isinstance(when, datetime.datetime):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=datetime.timezone.utc)
    nanos = (aware - _EPOCH) // _MICROSECOND * 1000
    return nanos if 0 < nanos < 2**62 else None


def _is_good(data: Any, counts: Counter[str]) -> bool:
    code = int(data.StatusCode.value) if data.StatusCode is not None else 0
    if code >> 30 >= 2:
        counts[status_name(code)] += 1
        return False
    if code >> 30 == 1:
        counts["uncertain"] += 1
    if code & _OVERFLOW == _OVERFLOW:
        counts["queue_overflow"] += 1
    return True


def _time(data: Any, now: int, counts: Counter[str], at: int | None) -> int:
    source, server = to_nanos(data.SourceTimestamp), to_nanos(data.ServerTimestamp)
    if at is not None:
        return max(at, source or at)
    if source is not None:
        return source
    counts["server_time" if server is not None else "receipt_time"] += 1
    return now if server is None else server
