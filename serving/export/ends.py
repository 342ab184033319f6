"""Where lives ended, as the log of failures and repairs that a table reader takes.

The centre sees that a life began (event 1), never why the one before ended: that is a repair, which is censoring. Only
a log that people keep says that a machine failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data.recording import End


def ends_of(known: Sequence[End], new_lives: Sequence[tuple[int, int]]) -> list[End]:
    """The `known` ends of a machine, and a repair before each new life that none of them explains.

    `new_lives`: (time before, time of) the observation that begins each. A failure logged at the very time of a new
    life's first observation belongs to the life before.
    """
    begins = {begin: before for before, begin in new_lives}
    ends = [End(begins.get(end.time, end.time), end.kind) for end in known]
    for before, begin in new_lives:
        if not any(before <= end.time < begin for end in ends):
            ends.append(End(before, "repair"))
    return sorted(ends, key=lambda end: (end.time, end.kind))


def count(ends: Mapping[str, Sequence[End]]) -> dict[str, int]:
    return {kind: sum(end.kind == kind for own in ends.values() for end in own) for kind in ("failure", "repair")}
