"""`down/ack`: what the centre has committed of one spool, and so what the gateway may forget.

    {"schema": "1.0", "epoch": 1767225600, "lanes": {"live": {"upto": 41, "ranges": [[44, 44], [47, 90]]}}}

Up to 41, and 44, and 47 to 90, both ends included. The centre says so when it has committed, and as often as it likes:
an acknowledgement takes nothing back, and a lost one is made good by the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.message import LANES, Lane
from edge_runtime.contract.text import SCHEMA, check_schema, dump, load, short
from edge_runtime.decode import decode
from edge_runtime.errors import WireError

MOST_RANGES = 256  # of a lane, in one acknowledgement: the lowest; what is above comes with a later one
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class LaneAck:
    """All seq from 1 to `upto` (0: none), and those within `ranges`, ascending and apart."""

    upto: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        end = self.upto
        if not 0 <= end <= _LARGEST:
            raise ValueError(f"upto {end}: expected 0 or more")
        for first, last in self.ranges:
            if not end < first <= last <= _LARGEST:
                raise ValueError(f"range [{first}, {last}] after {end}: ranges ascend and do not overlap")
            end = last

    def __contains__(self, seq: object) -> bool:
        if not isinstance(seq, int):
            return False
        place = bisect_right(self.ranges, (seq, _LARGEST)) - 1
        return 1 <= seq <= self.upto or (place >= 0 and seq <= self.ranges[place][1])


@dataclass(frozen=True)
class Acknowledgement:
    """Of the spool that was made in `epoch`; lanes of which nothing is said are as they were."""

    epoch: int
    lanes: Mapping[Lane, LaneAck]

    def pack(self) -> bytes:
        """The payload of `down/ack`."""
        lanes = {lane.label: {"upto": ack.upto, "ranges": ack.ranges} for lane, ack in self.lanes.items()}
        return dump({"schema": SCHEMA, "epoch": self.epoch, "lanes": lanes})


def parse_ack(payload: bytes, limits: Limits = DEFAULT) -> Acknowledgement:
    """What a payload of `down/ack` says; lanes that are not known here are left out. Raises only `WireError`."""
    if len(payload) > limits.json:
        raise WireError("size", f"{len(payload)} bytes of acknowledgement: at most {limits.json} are read")
    value = load(payload, "an acknowledgement")
    check_schema(value, "an acknowledgement")
    epoch, lanes = value.get("epoch"), value.get("lanes")
    if type(epoch) is not int or epoch < 0 or not isinstance(lanes, dict):
        raise WireError("body", f"an acknowledgement has epoch and lanes, this one epoch {short(repr(epoch))}")
    return Acknowledgement(epoch, {LANES[name]: _lane(name, said) for name, said in lanes.items() if name in LANES})


def _lane(name: str, said: Any) -> LaneAck:
    try:
        return decode(LaneAck, said, name)
    except ValueError as error:
        raise WireError("body", str(error)) from None


class LaneTracker:
    """Turns committed seqs of one lane into a `LaneAck`. What is below the lane's floor never comes: it counts as done.

    At most `most` ranges are held. When there are more the highest is forgotten: it is sent and committed again, which
    the transport key makes harmless.
    """

    def __init__(self, start: LaneAck = LaneAck(), most: int = 4 * MOST_RANGES) -> None:
        self._upto = start.upto
        self._firsts = [first for first, _ in start.ranges]
        self._lasts = [last for _, last in start.ranges]
        self.most = most

    def commit(self, seq: int, floor: int = 1) -> None:
        """`seq` (from 1) is committed; the envelope it came in says that nothing below `floor` will come any more."""
        if floor - 1 > self._upto:
            self._upto = floor - 1
            self._absorb()
        if seq <= self._upto:
            return
        place = bisect_right(self._firsts, seq)
        before = place > 0 and self._lasts[place - 1] >= seq - 1
        after = place < len(self._firsts) and self._firsts[place] == seq + 1
        if before and after:
            self._lasts[place - 1] = self._lasts.pop(place)
            self._firsts.pop(place)
        elif before:
            self._lasts[place - 1] = max(seq, self._lasts[place - 1])
        elif after:
            self._firsts[place] = seq
        else:
            self._firsts.insert(place, seq)
            self._lasts.insert(place, seq)
        self._absorb()
        del self._firsts[self.most :], self._lasts[self.most :]

    def ack(self, most: int = MOST_RANGES) -> LaneAck:
        return LaneAck(self._upto, tuple(zip(self._firsts[:most], self._lasts[:most], strict=True)))

    def _absorb(self) -> None:
        """Ranges that `upto` has reached become part of it."""
        reached = bisect_right(self._firsts, self._upto + 1)
        if reached:
            self._upto = max(self._upto, self._lasts[reached - 1])
            del self._firsts[:reached], self._lasts[:reached]


class AckTracker:
    """What the centre has committed of one gateway, by epoch and lane.

    A gateway whose clock was wrong may go on with a lower epoch, so none is preferred: the `epochs` last used are kept.
    """

    def __init__(self, start: Sequence[Acknowledgement] = (), epochs: int = 4) -> None:
        self._lanes = {
            ack.epoch: {lane: LaneTracker(said) for lane, said in ack.lanes.items()} for ack in start[-epochs:]
        }
        self._epochs = epochs
        self._news: dict[int, set[Lane]] = {}

    def commit(self, epoch: int, lane: Lane, seq: int, floor: int = 1) -> None:
        """The message (epoch, lane, seq) is in the database, now or since earlier; call it after the commit."""
        lanes = self._lanes.pop(epoch, None) or {}
        self._lanes[epoch] = lanes  # now the last used
        if lane not in lanes:
            lanes[lane] = LaneTracker()
        lanes[lane].commit(seq, floor)
        self._news.setdefault(epoch, set()).add(lane)
        while len(self._lanes) > self._epochs:
            oldest = next(iter(self._lanes))
            del self._lanes[oldest]
            self._news.pop(oldest, None)

    def take(self) -> list[Acknowledgement]:
        """One for each epoch of which something was committed since the last call, with the lanes concerned."""
        acks = [
            Acknowledgement(epoch, {lane: self._lanes[epoch][lane].ack() for lane in sorted(lanes)})
            for epoch, lanes in self._news.items()
        ]
        self._news.clear()
        return acks

    def state(self) -> list[Acknowledgement]:
        """All that is known, the last used epoch last: to be stored, and given to a new tracker as `start`."""
        return [
            Acknowledgement(epoch, {lane: tracker.ack(tracker.most) for lane, tracker in sorted(lanes.items())})
            for epoch, lanes in self._lanes.items()
        ]
