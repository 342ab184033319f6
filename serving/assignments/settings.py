"""The section [assignments] of centre.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edge_runtime.decode import Between


@dataclass(frozen=True)
class AssignmentSettings:
    """`key`: the private key, for hubs alone; not set: that of [commands]. `replay`: a snapshot is brought forward by
    what was observed since, if [service.models] has the bundle.

    Seconds between two tries at a gateway that is online and does not answer: `again` at first, twice as long each
    time, at most `again_most`.
    """

    enabled: bool = False
    key: Path | None = None
    replay: bool = True
    again: Annotated[float, Between(0.1, 3600)] = 10.0
    again_most: Annotated[float, Between(0.1, 86_400)] = 600.0
