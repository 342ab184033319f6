"""What the gateway counts, for Prometheus. Each metric is a line of `METRICS`, read from a `GatewayStatus` when asked.

Labels are bounded: classes, sources, lanes, kinds, levels, and reasons that stand in the code; never a machine, of
which a gateway may have ten thousand. Counters start anew with the process. Needs the extra `gateway`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from edge_runtime.errors import EdgeError
from edge_runtime.gateway.status import SECOND, GatewayStatus

if TYPE_CHECKING:
    from prometheus_client import Metric as Family
    from prometheus_client.registry import CollectorRegistry

Samples = Iterable[tuple[tuple[str, ...], "float | None"]]  # values of the labels; None: left out


class Metric(NamedTuple):
    """`name` as it is exported; counters end in `_total`."""

    name: str
    labels: tuple[str, ...]
    help: str
    samples: Callable[[GatewayStatus], Samples]

    @property
    def is_counter(self) -> bool:
        return self.name.endswith("_total")


def _one(read: Callable[[GatewayStatus], float | None]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [((), read(status))]


def _per_class(read: Callable[..., float]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [((bundle.asset_class,), read(bundle)) for bundle in status.bundles]


def _per_reason(key: str) -> Callable[[GatewayStatus], Samples]:
    """Class and what a mapping of its status counts."""
    return lambda status: [
        ((bundle.asset_class, name), count) for bundle in status.bundles for name, count in getattr(bundle, key).items()
    ]


def _per_source(read: Callable[..., float | None]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [((source.name, source.kind), read(source)) for source in status.sources]


def _per_lane(read: Callable[..., float | None]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [((lane.lane,), read(lane)) for lane in status.spool]


def _link(read: Callable[..., float | None]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [] if status.link is None else [((), read(status.link))]


def _per_stream(read: Callable[..., float]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [] if status.link is None else [((s.kind,), read(s)) for s in status.link.streams]


def _counts(read: Callable[[GatewayStatus], Mapping[str, int]]) -> Callable[[GatewayStatus], Samples]:
    return lambda status: [((name,), count) for name, count in read(status).items()]


def _seconds(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / SECOND


METRICS: tuple[Metric, ...] = (
    Metric(
        "overhaul_edge_info",
        ("gateway", "site", "version"),
        "Which gateway this is; always 1.",
        lambda s: [((s.gateway, s.site, s.version), 1)],
    ),
    Metric("overhaul_edge_start_time_seconds", (), "When the process started.", _one(lambda s: _seconds(s.started))),
    Metric("overhaul_edge_clock_synced", (), "1 if the system's clock is set.", _one(lambda s: s.clock_synced)),
    Metric(
        "overhaul_edge_bundle_info",
        ("class", "model_id", "provider"),
        "The bundle that runs a class; always 1.",
        lambda s: [((b.asset_class, b.model_id, b.provider), 1) for b in s.bundles],
    ),
    Metric("overhaul_edge_machines", ("class",), "Machines of the class.", _per_class(lambda b: b.machines)),
    Metric(
        "overhaul_edge_machines_warming_up",
        ("class",),
        "Machines whose twin is warming up.",
        _per_class(lambda b: b.warming_up),
    ),
    Metric(
        "overhaul_edge_machines_unfamiliar",
        ("class",),
        "Machines in a condition that training hardly saw.",
        _per_class(lambda b: b.unfamiliar),
    ),
    Metric(
        "overhaul_edge_machines_silent",
        ("class",),
        "Machines from which nothing comes any more.",
        _per_class(lambda b: b.silent),
    ),
    Metric(
        "overhaul_edge_machines_in_alarm", ("class", "level"), "Machines at this level of alarm.", _per_reason("alarms")
    ),
    Metric(
        "overhaul_edge_observations_total",
        ("class",),
        "Observations that twins were advanced by.",
        _per_class(lambda b: b.observations),
    ),
    Metric(
        "overhaul_edge_refused_total",
        ("class", "reason"),
        "Arrivals and values that no observation could use.",
        _per_reason("refused"),
    ),
    Metric(
        "overhaul_edge_source_connected",
        ("source", "type"),
        "1 if the source is connected.",
        _per_source(lambda s: s.connected),
    ),
    Metric(
        "overhaul_edge_source_insecure",
        ("source", "type"),
        "1 if what the source hears may be read or forged by others.",
        _per_source(lambda s: s.insecure is not None),
    ),
    Metric(
        "overhaul_edge_source_last_arrival_time_seconds",
        ("source", "type"),
        "When something last came.",
        _per_source(lambda s: _seconds(s.last_arrival)),
    ),
    Metric(
        "overhaul_edge_source_events_total",
        ("source", "type", "event"),
        "What the source received, and refused by reason.",
        lambda s: [((x.name, x.kind, event), count) for x in s.sources for event, count in x.counts.items()],
    ),
    Metric(
        "overhaul_edge_engine_idle_seconds",
        (),
        "Since the engine's loop last went round; beyond [http] stalled_after the gateway is unhealthy.",
        _one(lambda s: s.engine.moved),
    ),
    Metric("overhaul_edge_engine_batches_total", (), "Calls of a graph.", _one(lambda s: s.engine.batches)),
    Metric("overhaul_edge_engine_busy_seconds_total", (), "Time spent in graphs.", _one(lambda s: s.engine.busy)),
    Metric("overhaul_edge_inbox_arrivals", (), "Arrivals that wait for the engine.", _one(lambda s: s.engine.inbox)),
    Metric(
        "overhaul_edge_inbox_overflow_total",
        (),
        "Arrivals not taken because too many waited.",
        _one(lambda s: s.engine.overflow),
    ),
    Metric(
        "overhaul_edge_journal_writable",
        (),
        "0 while nothing can be written, as when the disk is full.",
        _one(lambda s: s.journal.problem is None),
    ),
    Metric("overhaul_edge_journal_commits_total", (), "Transactions.", _one(lambda s: s.journal.commits)),
    Metric(
        "overhaul_edge_journal_commit_seconds_total",
        (),
        "Time spent in transactions.",
        _one(lambda s: s.journal.commit_seconds),
    ),
    Metric(
        "overhaul_edge_journal_written_bytes_total",
        (),
        "Bytes written to the disk: flash wears out.",
        _one(lambda s: s.journal.bytes_written),
    ),
    Metric(
        "overhaul_edge_journal_database_bytes",
        (),
        "Size of the database on disk.",
        _one(lambda s: s.journal.database_bytes),
    ),
    Metric(
        "overhaul_edge_journal_checkpoint_time_seconds",
        (),
        "When states were last written.",
        _one(lambda s: _seconds(s.journal.checkpoint)),
    ),
    Metric(
        "overhaul_edge_spool_messages", ("lane",), "Messages that the hub has not yet.", _per_lane(lambda x: x.messages)
    ),
    Metric("overhaul_edge_spool_bytes", ("lane",), "Their size.", _per_lane(lambda x: x.bytes)),
    Metric(
        "overhaul_edge_spool_oldest_time_seconds",
        ("lane",),
        "When the oldest of them was received.",
        _per_lane(lambda x: _seconds(x.oldest)),
    ),
    Metric(
        "overhaul_edge_spool_dropped_total",
        ("lane",),
        "Messages dropped because the spool or the disk was full: lost, but for what was on its way just then.",
        _per_lane(lambda x: x.dropped),
    ),
    Metric("overhaul_edge_link_connected", (), "1 if connected to the centre.", _link(lambda x: x.connected)),
    Metric(
        "overhaul_edge_link_healthy", (), "1 if the hub acknowledges what is sent live.", _link(lambda x: x.healthy)
    ),
    Metric(
        "overhaul_edge_link_last_ack_time_seconds",
        (),
        "When the hub last acknowledged.",
        _link(lambda x: _seconds(x.last_ack)),
    ),
    Metric("overhaul_edge_link_connects_total", (), "Connections made.", _link(lambda x: x.connects)),
    Metric("overhaul_edge_link_resent_total", (), "Messages sent more than once.", _link(lambda x: x.resent)),
    Metric(
        "overhaul_edge_link_messages_total", ("kind",), "Messages sent, by kind.", _per_stream(lambda x: x.messages)
    ),
    Metric("overhaul_edge_link_bytes_total", ("kind",), "Their bytes.", _per_stream(lambda x: x.bytes)),
    Metric(
        "overhaul_edge_link_plain_bytes_total",
        ("kind",),
        "The bytes that all data as plain JSON or raw samples would have been.",
        _per_stream(lambda x: x.plain_bytes),
    ),
    Metric(
        "overhaul_edge_commands_total",
        ("outcome",),
        "Commands by what became of them.",
        _counts(lambda s: s.commands),
    ),
    Metric(
        "overhaul_edge_assignments_total",
        ("outcome",),
        "Assignments by what became of them.",
        _counts(lambda s: s.assignments),
    ),
    Metric("overhaul_edge_dropped_total", ("reason",), "What was given up: lost data.", _counts(lambda s: s.dropped)),
)


class GatewayCollector:
    """Asks for the status when Prometheus asks for the metrics."""

    def __init__(self, status: Callable[[], GatewayStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Family]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        status = self._status()
        for metric in METRICS:
            kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(status):
                if value is not None:
                    family.add_metric(labels, float(value))
            yield family


def registry(status: Callable[[], GatewayStatus]) -> CollectorRegistry:
    """A registry of this gateway alone; `EdgeError` where prometheus-client is not installed."""
    try:
        from prometheus_client.registry import CollectorRegistry
    except ImportError as error:
        raise EdgeError("metrics need prometheus-client: pip install 'overhaul[gateway]'") from error
    made = CollectorRegistry(auto_describe=False)
    made.register(GatewayCollector(status))
    return made


def exposition(of: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The text of all metrics and its content type, in the format that `accept` prefers."""
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    return encode(of), content_type
