"""What may become of a command.

    waiting_for_approval ──▶ queued ──▶ sent ──▶ refused, done, failed, unknown      as the gateway answers
            │                  │          └────▶ unknown                              no answer in time
            └──────────────────┴──▶ cancelled, expired                                no hub has begun to send it

A hub that has begun to send may have sent: from then on a command is neither cancelled nor expired. Answers may come
late, twice and in any order: the weightiest counts, and nothing that a gateway has answered is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Status = Literal[
    "waiting_for_approval", "queued", "sent", "done", "failed", "refused", "unknown", "expired", "cancelled"
]
WAITING: Status = "waiting_for_approval"
QUEUED: Status = "queued"
SENT: Status = "sent"
UNKNOWN: Status = "unknown"
EXPIRED: Status = "expired"
CANCELLED: Status = "cancelled"
OPEN: tuple[Status, ...] = (WAITING, QUEUED, SENT)

# The more an answer says, the more it weighs. Sent twice, one delivery may be refused and the other carried out.
WEIGHTS: Mapping[str, int] = {"accepted": 0, "refused": 1, "unknown": 2, "failed": 3, "done": 4}


def heavier(answer: str, known: str | None) -> bool:
    """Whether an answer says more than that which is known.

    >>> heavier("done", "refused"), heavier("refused", "done"), heavier("done", "done")
    (True, False, False)
    """
    return WEIGHTS[answer] > (-1 if known is None else WEIGHTS[known])


def answered(status: Status, claims: int, known: str | None, answer: str) -> Status | None:
    """The status after an answer; None: it changes nothing. Nobody can answer what no hub has begun to send."""
    if not claims or not heavier(answer, known):
        return None
    if answer == "accepted":
        return SENT if status in (QUEUED, SENT) else None
    return _ANSWERED[answer]


def published(status: Status) -> Status | None:
    """After the broker has it: an answer may have been faster."""
    return SENT if status == QUEUED else None


def out_of_time(status: Status, claims: int) -> Status | None:
    """When nobody waits any longer: for an approval, for a hub, for an answer."""
    if status not in OPEN:
        return None
    return UNKNOWN if claims else EXPIRED


def withdrawable(status: Status, claims: int) -> bool:
    """Whether it is sure that no gateway has it, nor will."""
    return status in (WAITING, QUEUED) and not claims


_ANSWERED: Mapping[str, Status] = {"refused": "refused", "unknown": "unknown", "failed": "failed", "done": "done"}
