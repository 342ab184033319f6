"""The section [commands] of centre.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edge_runtime.contract.command import LONGEST_TTL
from edge_runtime.decode import Between


@dataclass(frozen=True)
class CommandSettings:
    """`key`: the private key, for hubs alone; without it a hub sends none. `approvals`: of others, before one is sent;
    `approve_critical`: at least one for machines of criticality A.

    Seconds: `ttl` until it must have been carried out, unless the command says; `approve_within`. `per_minute`: of one
    channel of one machine. `patience`: seconds that an answer is waited for beyond the end of a command.
    """

    enabled: bool = False
    key: Path | None = None
    approvals: Annotated[int, Between(0, 1)] = 0
    approve_critical: bool = True
    approve_within: Annotated[float, Between(10, 604_800)] = 900.0
    ttl: Annotated[float, Between(1, LONGEST_TTL)] = 60.0
    per_minute: Annotated[int, Between(1, 600)] = 6
    patience: Annotated[float, Between(0, 86_400)] = 60.0
