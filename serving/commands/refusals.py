"""What the one word with which a gateway refuses a command means, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "off": "commands are off at the gateway: [commands] enabled in its gateway.toml",
    "stopped": "the gateway's stop file exists: nothing is written until it is removed",
    "not_allowed": "it is not in the gateway's allow-list: [commands] allow in its gateway.toml",
    "out_of_range": "it is outside what the gateway's allow-list lets be written",
    "rate": "the gateway's allow-list lets it be written less often: wait",
    "term": "the gateway has the machine under another term: look at its machines.csv",
    "expired": "it came too late, or the gateway's clock is ahead: look at both clocks",
    "future": "it is dated in the gateway's future: look at both clocks",
    "busy": "an earlier command still hangs in the source",
    "disk": "the gateway cannot write to its disk",
}


def explained(reason: str | None) -> str:
    """
    >>> explained("busy")
    'busy: an earlier command still hangs in the source'
    >>> explained("the valve is stuck")
    'the valve is stuck'
    """
    words = WORDS.get(reason or "")
    return f"{reason}: {words}" if words else reason or ""
