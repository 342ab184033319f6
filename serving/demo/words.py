"""How times, remaining lives and alarms are written."""

from __future__ import annotations

import math

from serving.demo.recording import Stage
from serving.demo.watch import FORESEEN, Change, Machine

_NAMES = {"d": "day", "h": "hour", "min": "minute", "s": "second", "cycle": "cycle"}


class Words:
    """Of one fleet: its unit of life, its cap."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.unit = stage.contract.life.unit
        self.units = "cycles" if self.unit == "cycle" else self.unit
        self.cap = stage.contract.labels.cap
        self.horizon = stage.contract.labels.horizon
        self.simulated = stage.contract.simulated
        self._digits = 0 if self.unit == "cycle" else 1

    def number(self, life: float) -> str:
        return f"{life:.{self._digits}f}"

    def with_unit(self, life: float) -> str:
        return f"{self.number(life)} {self.units}"

    def since_begin(self, t: int) -> float:
        """Units of life since the first row."""
        return (t - self.stage.begin) / self.stage.life

    def moment(self, t: int) -> str:
        return f"{_NAMES.get(self.unit, self.unit)} {self.number(self.since_begin(t))}"

    def truly_left(self, machine: Machine, t: int) -> float:
        return max(0.0, (machine.played.end - t) / self.stage.life)

    def remaining(self, rul: float) -> str:
        return f"> {self.cap:g}" if rul >= self.cap * 0.999 else self.number(rul)

    def interval(self, lower: float, upper: float) -> str:
        return f"{self.number(min(lower, self.cap))} … {self.remaining(upper)}"

    def within(self, truth: float, lower: float, upper: float) -> bool:
        """Whether the interval holds the truth, to the digit that is shown; beyond the cap lives are not told apart."""
        half = 0.5 * 10.0**-self._digits
        return min(lower, self.cap) - half <= min(truth, self.cap) and (math.isinf(upper) or truth <= upper + half)

    def change(self, change: Change) -> str:
        """In a line, for people."""
        if change.level == 0:
            return f"{change.asset}: alarm cleared"
        verb = "raised to" if change.previous else "raised:"
        drivers = ", ".join(change.drivers).replace("_", " ")
        told = f"{change.asset}: alarm {verb} level {change.level}" if change.level > change.previous else ""
        told = told or f"{change.asset}: alarm lowered to level {change.level}"
        told += f", {self.with_life(change.rul)} left ({self.interval(change.lower, change.upper)})"
        return told + (f", driven by {drivers}" if drivers else "")

    def with_life(self, rul: float) -> str:
        return f"{self.remaining(rul)} {self.units}"

    def outcome(self, machine: Machine) -> str:
        """Of a machine whose record is over."""
        played = machine.played
        left = self.with_unit(self.truly_left(machine, played.last))
        what = "failed" if played.failed else f"record ends {left} before the failure"
        warning = machine.warning
        if warning is None:
            return f"{what}; no alarm of level {FORESEEN} stood"
        return f"{what}, foreseen {self.with_unit(self.truly_left(machine, warning.t))} before"

    def short_outcome(self, machine: Machine) -> str:
        warning = machine.warning
        told = "not foreseen" if warning is None else f"foreseen {self.with_unit(self.truly_left(machine, warning.t))}"
        return f"{'failed' if machine.played.failed else 'ended'}, {told}"
