"""Try everything that a gateway.toml names, one line each: what was tried, whether it works, and the way out if not.

Nothing is started, no message is published and no value written. A gateway that runs is left alone; only what it holds
(its port, its folder) is then said to be in use.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge_runtime.clock import Clock, SystemClock
from edge_runtime.errors import EdgeError
from edge_runtime.gateway.checks.centre import check_identity, check_link
from edge_runtime.gateway.checks.here import (
    check_assignments,
    check_commands,
    check_computer,
    check_folder,
    check_http,
    check_secrets,
)
from edge_runtime.gateway.checks.line import Line, finding_line
from edge_runtime.gateway.checks.models import check_models
from edge_runtime.gateway.checks.ranges import Ranges, judged
from edge_runtime.gateway.config import GatewayConfig, SourceConfig, read_config
from edge_runtime.gateway.sources import make_source
from edge_runtime.sources.source import Finding

AT_ONCE = 8  # connections tried


def check(path: Path, clock: Clock | None = None) -> list[Line]:
    """All findings about the gateway.toml at `path`. Takes seconds; never raises for what is wrong."""
    clock = clock or SystemClock()
    try:
        config = read_config(path)
    except EdgeError as error:
        told = str(error).splitlines()
        return [Line("config", str(path), "FAIL", problem.strip()) for problem in told[1:] or told]
    lines = [Line("config", str(path), "ok", f"{len(config.bundles)} bundles, {len(config.sources)} sources")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sources = [pool.submit(_source, source, config.gateway.id, clock) for source in config.sources]
        link = pool.submit(_link, config, clock)
        lines += check_computer(config, clock)
        lines += check_folder(config.gateway.data)
        lines += check_secrets(config)
        ranges: Ranges = {}
        lines += check_models(config, ranges)
        for source, found in zip(config.sources, sources, strict=True):
            lines += [finding_line(f"source {source.name}", judged(one, ranges)) for one in found.result()]
        lines += [finding_line("link", one) for one in link.result()]
    return [
        *lines,
        *check_commands(config.commands),
        *check_assignments(config.assignment_key),
        *check_http(config.http),
    ]


def _source(source: SourceConfig, gateway: str, clock: Clock) -> list[Finding]:
    return _tried(lambda: make_source(source, gateway, clock).check())


def _link(config: GatewayConfig, clock: Clock) -> list[Finding]:
    gateway = config.gateway
    return [
        *_tried(lambda: list(check_identity(config.link, gateway.id))),
        *_tried(lambda: check_link(config.link, gateway.site, gateway.id, clock)),
    ]


def _tried(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except (EdgeError, OSError) as error:
        return [Finding("settings", False, str(error))]
