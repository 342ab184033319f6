"""Metrics of a Sparkplug message into values of channels, and what of them cannot be used, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.contract.names import is_identifier
from edge_runtime.sources.mqtt.payload import Refusal, Rename, Times
from edge_runtime.sources.sparkplug.node import Known
from edge_runtime.sources.sparkplug.payload import GOOD, Metric, Payload, number

_CONTROL = ("Node Control/", "Device Control/", "bdSeq")  # metrics that are about Sparkplug itself


class Values:
    """`renames`: metric → channel. Reasons are counted in `counts`."""

    def __init__(self, renames: Mapping[str, Rename], clock: Clock, counts: Counter[str]) -> None:
        self._renames, self._clock, self._counts = renames, clock, counts
        self._times = Times("ms")

    def by_time(self, payload: Payload, named: Iterable[tuple[Known, Metric]]) -> list[tuple[int, dict[str, Any]]]:
        """Channel → value, for each time that stands in a message, in their order."""
        found_at: dict[int, dict[str, Any]] = {}
        for known, metric in named:
            if known.name.startswith(_CONTROL):
                continue
            found = self._value(known, metric)
            if found is None:
                continue
            stamp = metric.time if metric.time is not None else payload.time
            try:
                nanos = self._now() if stamp is None else self._times(stamp)
            except Refusal:
                self._counts["bad_time"] += 1
                continue
            found_at.setdefault(nanos, {}).update([found])
        return sorted(found_at.items(), key=lambda item: item[0])

    def _value(self, known: Known, metric: Metric) -> tuple[str, Any] | None:
        rename = self._renames.get(known.name)
        if rename is None and not is_identifier(known.name):
            self._counts["unnamed_channel"] += 1
            return None
        if metric.value is None and metric.is_null:
            self._counts["null"] += 1
            return None
        value = number(metric.value, metric.type or known.type)
        if value is None:
            self._counts["not_numeric"] += 1
            return None
        if metric.quality != GOOD:
            self._counts["bad_quality"] += 1
            return None
        if metric.is_historical:
            self._counts["historical"] += 1
        return (known.name, value) if rename is None else (rename.channel, rename(value))

    def _now(self) -> int:
        self._counts["untimed"] += 1
        return self._clock.utc()
