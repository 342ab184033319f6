"""The status of a gateway as text for people: what is wrong stands first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_runtime.gateway.status import SECOND, BundleStatus, GatewayStatus, JournalStatus, LaneStatus, LinkStatus
from edge_runtime.sources.source import SourceStatus

ENOUGH = 3_600  # seconds to run before anything is said of a day

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def status_text(status: GatewayStatus) -> str:
    return "\n".join(_lines(status))


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows of cells as lines; columns start below each other.

    >>> aligned([("a", "1"), ("long", "2")])
    ['  a     1', '  long  2']
    """
    if not rows:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def duration(seconds: float) -> str:
    """Two units at most.

    >>> duration(0.25), duration(75), duration(90_000)
    ('0.2 s', '1 min 15 s', '1 d 1 h')
    """
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    left, parts = round(seconds), list[str]()
    for length, unit in _UNITS:
        if left >= length and len(parts) < 2:
            parts.append(f"{left // length} {unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts)


def size(count: float) -> str:
    """Bytes with a binary prefix.

    >>> size(512), size(1536), size(3 * 2**30)
    ('512 B', '1.5 KiB', '3.0 GiB')
    """
    for prefix in ("", "Ki", "Mi", "Gi"):
        if count < 1024:
            return f"{count:.0f} B" if not prefix else f"{count:.1f} {prefix}B"
        count /= 1024
    return f"{count:.1f} TiB"


def _lines(status: GatewayStatus) -> Iterator[str]:
    uptime = (status.time - status.started) / SECOND
    yield f"gateway {status.gateway} at {status.site}, overhaul {status.version}, up {duration(uptime)}"
    yield from aligned([("!", problem) for problem in problems(status)])
    yield "bundles"
    yield from aligned([row for bundle in status.bundles for row in _bundle(bundle)] or [("", "none loaded yet")])
    yield "sources"
    yield from aligned([_source(source, status.time, uptime) for source in status.sources])
    told = [source for source in status.sources if source.refused]
    yield from aligned([(source.name, f"last refused: {source.refused[-1]}") for source in told])
    yield "engine"
    yield from aligned(list(_engine(status, uptime)))
    yield "journal"
    yield from aligned(list(_journal(status.journal, status.time, uptime)))
    yield "spool: what the hub has not acknowledged yet"
    yield from aligned([_lane(lane, status.time) for lane in status.spool] or [("", "empty")])
    yield "link"
    yield from aligned(list(_link(status.link, status.time)) if status.link else [("", "no centre is configured")])
    for title, counts in (
        ("commands", status.commands),
        ("assignments", status.assignments),
        ("dropped", status.dropped),
    ):
        if any(counts.values()):
            yield title
            yield from aligned([(name, f"{count:,}") for name, count in counts.items() if count])


def problems(status: GatewayStatus) -> Iterator[str]:
    """What somebody should look at."""
    if status.journal.problem is not None:
        yield f"the journal cannot be written: {status.journal.problem}"
    if not status.clock_synced:
        yield "the system's clock is not synchronised: times may be wrong"
    for bundle in status.bundles:
        if bundle.problem is not None:
            yield f"bundle {bundle.asset_class} runs on, but a restart could not use its folder: {bundle.problem}"
        yield from bundle.out_of_range
    for source in status.sources:
        if not source.connected:
            yield f"source {source.name} is not connected: {source.detail or 'no reason known'}"
    if status.link is not None and not status.link.connected:
        yield f"the centre cannot be reached: {status.link.detail or status.link.url}"
    elif status.link is not None and status.link.detail not in ("", "connected"):
        yield f"the link to the centre: {status.link.detail}"
    elif status.link is not None and not status.link.healthy:
        yield _unacknowledged(status.link)
    for lane in status.spool:
        if lane.dropped:
            yield f"lane {lane.lane}: {lane.dropped:,} messages were dropped because the spool was full"
    for why in status.insecure:
        yield f"insecure: {why}"


def _unacknowledged(link: LinkStatus) -> str:
    if link.delivery == "broker":
        return "the centre's broker is connected but does not acknowledge: the spool grows"
    if link.last_ack is not None:
        return "the centre's broker is connected, but its hub does not acknowledge: the spool grows; does the hub run?"
    return (
        "the centre's broker is connected, but no hub has acknowledged anything yet: it all waits here; start a hub "
        '(docs/centre.md), or set delivery = "broker" in [link] if there is none'
    )


def _bundle(bundle: BundleStatus) -> Iterator[tuple[str, str]]:
    yield bundle.asset_class, f"model {bundle.model_id[:12]} on {bundle.provider}, {bundle.machines:,} machines"
    alarms = ", ".join(f"{count:,} at level {level}" for level, count in bundle.alarms.items() if count)
    yield "", f"alarms: {alarms or 'none'}"
    yield "", f"warming up {bundle.warming_up:,}, unfamiliar {bundle.unfamiliar:,}, silent {bundle.silent:,}"
    yield "", f"observations {bundle.observations:,}{_refused(bundle.refused)}"
    if bundle.settings:
        yield "", f"set by the centre {len(bundle.settings):,}"
    for why in bundle.passed_over:
        yield "", f"not used: {why}"


def _source(source: SourceStatus, now: int, uptime: float) -> tuple[str, ...]:
    received = source.counts.get("received", 0)
    others = {name: count for name, count in source.counts.items() if name != "received"}
    rate = f", {received / uptime:.3g}/s on average" if uptime > 0 else ""
    return (
        source.name,
        source.kind,
        "connected" if source.connected else "AWAY",
        f"last {_ago(source.last_arrival, now)}",
        f"received {received:,}{rate}{_refused(others, '; ')}",
        f"INSECURE: {source.insecure}" if source.insecure else "",
    )


def _engine(status: GatewayStatus, uptime: float) -> Iterator[tuple[str, str]]:
    engine = status.engine
    yield "moved", f"{duration(engine.moved)} ago; {engine.inbox:,} arrivals wait"
    share = f", {engine.busy / uptime:.1%} of the time" if uptime > 0 else ""
    yield "graphs", f"{engine.batches:,} calls, {duration(engine.busy)}{share}"


def _journal(journal: JournalStatus, now: int, uptime: float) -> Iterator[tuple[str, str]]:
    mean = f", {journal.commit_seconds / journal.commits * 1000:.1f} ms each" if journal.commits else ""
    yield "commits", f"{journal.commits:,}{mean}"
    rate = f", {size(journal.bytes_per_day)} a day" if uptime >= ENOUGH else ""
    yield "written", size(journal.bytes_written) + rate
    yield "database", size(journal.database_bytes)
    yield "checkpoint", f"{_ago(journal.checkpoint, now)}, position {journal.position:,}"


def _lane(lane: LaneStatus, now: int) -> tuple[str, ...]:
    oldest = f"oldest {_ago(lane.oldest, now)}" if lane.messages else ""
    dropped = f"DROPPED {lane.dropped:,}" if lane.dropped else ""
    return lane.lane, f"{lane.messages:,} messages", size(lane.bytes), oldest, dropped


def _link(link: LinkStatus, now: int) -> Iterator[tuple[str, str]]:
    state = ("healthy" if link.healthy else "connected, not acknowledging") if link.connected else "AWAY"
    detail = f" ({link.detail})" if link.detail not in ("", "connected") else ""
    yield "centre", f"{link.url}: {state}{detail}"
    lossy = " takes it for delivered: what it loses is lost" if link.delivery == "broker" else ""
    yield "delivery", f"{link.delivery}{lossy}; last acknowledged {_ago(link.last_ack, now)}"
    yield "sent", f"{link.sent:,} messages, {link.resent:,} again, {link.connects:,} connections"
    for stream in link.streams:
        less = 1 - stream.bytes / stream.plain_bytes if stream.plain_bytes else 0.0
        saved = f", {less:.1%} less than plain" if less > 0 else ""
        yield stream.kind, f"{stream.messages:,} messages, {size(stream.bytes)}{saved}"
    if link.insecure:
        yield "INSECURE", link.insecure


def _refused(counts: Mapping[str, int], before: str = "; refused: ") -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    return before + told if told else ""


def _ago(time: int | None, now: int) -> str:
    return "never" if time is None else f"{duration((now - time) / SECOND)} ago"
