"""What `gateway.toml` says of the journal and the spool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_runtime.decode import Between

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class JournalSettings:
    """A commit wears the flash out, and until it is done nothing is acknowledged: these weigh one against the other.

    An urgent Work (an alarm) is committed at once, others when `commit_messages` receipts wait or after `commit_after`
    seconds. States are checkpointed every `checkpoint_every` seconds, and sooner when the models have computed for
    `replay` seconds since, for a restart computes that once more. Observations before the checkpoint are kept up to
    `history_bytes` and `history_days`, to warm up a new bundle. `waiting_bytes` bounds what waits in memory when the
    disk is slow or full.
    """

    commit_after: Annotated[float, Between(0, 60)] = 1.0
    commit_messages: Annotated[int, Between(1, 10_000)] = 16
    checkpoint_every: Annotated[float, Between(1, 86400)] = 60.0
    replay: Annotated[float, Between(0.1, 86400)] = 1.5
    history_bytes: Annotated[int, Between(0, 1024 * GIB)] = 256 * MIB
    history_days: Annotated[float, Between(0, 3650)] = 7.0
    waiting_bytes: Annotated[int, Between(MIB, GIB)] = 32 * MIB


@dataclass(frozen=True)
class SpoolSettings:
    """What may wait for the centre. Over `max_bytes`, the oldest raw messages go first, then backfill, live and alarms.

    `min_days`: the network may be away for so long; `check` warns when `max_bytes` will not do for it.
    """

    max_bytes: Annotated[int, Between(MIB, 1024 * GIB)] = GIB
    min_days: Annotated[float, Between(0, 3650)] = 7.0
