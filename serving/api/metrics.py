"""What Prometheus may read. Where BentoML runs several workers, they add theirs up in files of prometheus-client."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector  # type: ignore[no-untyped-call, unused-ignore]

KIND = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.06, 0.1, 0.25, 1.0, 5.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class Metrics:
    """One for a process; `requests` are counted by route (never by raw path) and status."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here = self.registry
        self._requests = Counter("overhaul_requests", "Requests answered", ["route", "status"], registry=here)
        self._seconds = Histogram(
            "overhaul_request_seconds", "Until answered", ["route"], buckets=_SECONDS, registry=here
        )
        self._refused = Counter("overhaul_refused", "Requests refused, by code", ["code"], registry=here)
        self.group = Histogram("overhaul_group_size", "Requests run together", ["lane"], buckets=_SIZES, registry=here)
        self._rows = Counter("overhaul_observations", "Observations advanced", ["fleet", "stored"], registry=here)
        self.models = Gauge("overhaul_models", "Bundles served", registry=here, multiprocess_mode="max")
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # `labels` takes longer than counting

    def answered(self, route: str, status: int, seconds: float) -> None:
        known = self._known.get((route, status))
        if known is None:
            known = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._known[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def advanced(self, fleet: str, observations: int, *, stored: bool) -> None:
        self._rows.labels(fleet, str(stored)).inc(observations)

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def exposition(self) -> bytes:
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self.registry)
