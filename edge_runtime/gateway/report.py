"""What the parts of a running gateway count, put together: for people and Prometheus, and for the centre."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import numpy as np

from edge_runtime.clock import Clock
from edge_runtime.contract import bodies
from edge_runtime.contract.message import Lane
from edge_runtime.gateway.engine import Engine
from edge_runtime.gateway.status import (
    SECOND,
    BundleStatus,
    EngineStatus,
    JournalStatus,
    LaneStatus,
    LinkStatus,
)
from edge_runtime.gateway.twins import Twins
from edge_runtime.journal.journal import JournalReport

Backlog = Mapping[Lane, tuple[int, int, "int | None"]]  # messages, bytes, when the oldest was received

UNFAMILIAR = 0.5  # above, a machine counts as unfamiliar


def version() -> str:
    try:
        return installed("overhaul")
    except PackageNotFoundError:  # run from a folder
        return "unknown"


def engine_status(engine: Engine, clock: Clock) -> EngineStatus:
    return EngineStatus(
        moved=(clock.monotonic() - engine.moved) / SECOND,
        batches=engine.counts["batches"],
        busy=engine.busy,
        inbox=len(engine.inbox),
        overflow=engine.inbox.overflow,
    )


def bundle_status(name: str, twins: Twins, silent_after: int, clock: Clock, problem: str | None = None) -> BundleStatus:
    """The twins of one class: their model, how many are in which condition, and the `problem` of its folder."""
    return BundleStatus(
        asset_class=name,
        model_id=twins.model_id,
        provider=twins.bundle.step.provider,
        machines=len(twins.machines.assets),
        observations=twins.counts["observations"],
        warming_up=int(np.count_nonzero(twins.warming_up > 0)),
        unfamiliar=int(np.count_nonzero(twins.unfamiliar > UNFAMILIAR)),
        silent=int(np.count_nonzero(clock.monotonic() - twins.heard > silent_after)),
        alarms=twins.occurrences.counts(),
        refused=refused(twins),
        passed_over=twins.passed_over,
        settings={asset: one.version for asset, one in list(twins.assigned.items()) if one.version},
        problem=problem,
        out_of_range=tuple(twins.out_of_range().values()),
    )


def refused(twins: Twins) -> dict[str, int]:
    """By reason; those of the fleet are observations, not values."""
    counts = Counter({reason: count for reason, count in twins.intake.counts.copy().items() if count})
    counts.update({f"fleet_{why}": twins.fleet.counts[why] for why in ("duplicate", "late") if twins.fleet.counts[why]})
    if twins.counts["failed"]:
        counts["failed"] = twins.counts["failed"]
    return dict(counts)


def journal_status(report: JournalReport) -> JournalStatus:
    """The journal's report, in the words of the status."""
    return JournalStatus(
        problem=report.problem,
        commits=report.commits,
        bytes_written=report.bytes_written,
        bytes_per_day=report.bytes_per_day,
        database_bytes=report.database_bytes,
        position=report.position,
        checkpoint=report.checkpoint,
        commit_seconds=report.commit_seconds,
    )


def lane_statuses(backlog: Backlog, report: JournalReport) -> tuple[LaneStatus, ...]:
    return tuple(
        LaneStatus(lane.label, count, size, oldest, report.dropped.get(lane, 0))
        for lane, (count, size, oldest) in backlog.items()
    )


def dropped(engine: Engine, report: JournalReport, dead_letters: int) -> dict[str, int]:
    """All that was given up, by reason."""
    counts = {f"spool_{lane.label}": count for lane, count in report.dropped.items()}
    counts |= {"unknown_asset": engine.counts["unknown_asset"], "faults": engine.counts["faults"]}
    counts |= {"failed": sum(twins.counts["failed"] for twins in engine.twins.values()), "dead_letters": dead_letters}
    return {reason: count for reason, count in counts.items() if count}


def heartbeat(engine: Engine, uptime: float, backlog: Backlog, written: int) -> bodies.Heartbeat:
    """For the centre."""
    total: Counter[str] = Counter()
    for twins in engine.twins.values():
        total.update(refused(twins))
    oldest = [at for _, _, at in backlog.values() if at is not None]
    return bodies.Heartbeat(
        uptime=uptime,
        machines=sum(len(twins.machines.assets) for twins in engine.twins.values()),
        observations=sum(twins.counts["observations"] for twins in engine.twins.values()),
        refused=dict(total),
        backlog={lane.label: count for lane, (count, _, _) in backlog.items()},
        backlog_bytes=sum(size for _, size, _ in backlog.values()),
        oldest=min(oldest, default=None),
        written_bytes=written,
    )


def weaknesses(sources: Sequence[str | None], link: LinkStatus | None, http: str | None) -> tuple[str, ...]:
    """Why something here may be read or forged by others."""
    return tuple(why for why in (*sources, link.insecure if link else None, http) if why)
