"""Sources made from their settings; nothing is connected yet."""

from __future__ import annotations

from edge_runtime.clock import Clock
from edge_runtime.gateway.config import SourceConfig
from edge_runtime.sources.source import Source

NAMED = ("mqtt", "sparkplug")  # their client id at the broker has the gateway's id in it


def make_source(config: SourceConfig, gateway: str, clock: Clock) -> Source:
    """The source that `config` describes, of the gateway with id `gateway`."""
    source: Source
    if config.type in NAMED:
        source = config.source_class()(config.settings, gateway, clock)
    else:
        source = config.source_class()(config.settings, clock)
    return source
