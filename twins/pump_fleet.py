"""A fleet of simulated pumps: nameplates, varying duty, damage growing to failure, and sensors watching.

One observation every 20 minutes, aligned to the UTC epoch. Most pumps are watched from new to failure. Some are
connected in mid-life with unknown age, some still run when their record ends, some are overhauled in time and live on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from twins.instruments import Instrument, measure
from twins.pump import SUCTION, VALVE_RATED, Damage, Duty, Pump, expected
from twins.record import Record
from twins.signals import lag, wander
from twins.wear import draw_courses, grow

STEP = 1200  # s
DAYS = STEP / 86400
NANOS = 1_000_000_000
LONGEST = int(250 / DAYS)  # steps; a life that outlasts them is censored
FIRST_DAY = 1_735_689_600 // STEP  # 2025-01-01T00:00Z, in steps
MODES = ("impeller", "bearing", "seal", "clogging")
MOTORS = (18.5, 22.0, 30.0, 37.0, 45.0)  # kW, standard sizes (IEC 60072)

MIDLIFE, CENSORED, OVERHAULED = 0.1, 0.1, 0.1  # shares of the pumps
OUTAGES = 0.01  # a day: nothing arrives for hours, the rows are absent
MOTOR_HOURS, BEARING_HOURS = 1.5, 0.8  # thermal time constants

INSTRUMENTS = {
    "speed": Instrument(300, 3600, noise=3.0),
    "valve_position": Instrument(-2, 102, noise=0.4),
    "ambient_temperature": Instrument(-30, 60, noise=0.3),
    "flow": Instrument(0, 4000, relative=0.008),
    "inlet_pressure": Instrument(-1, 4, noise=0.01),
    "outlet_pressure": Instrument(0, 16, noise=0.01, relative=0.002),
    "power": Instrument(0, 60, relative=0.005),
    "current": Instrument(0, 120, relative=0.006),
    "motor_temperature": Instrument(-30, 180, noise=0.5),
    "bearing_temperature": Instrument(-30, 180, noise=0.5),
    "vibration": Instrument(0, 30, noise=0.02, relative=0.05),
}


@dataclass(frozen=True)
class Life:
    """A pump run from new until it fails, or for LONGEST steps: the truth behind a record. T steps."""

    step: np.ndarray  # int64[T] of the calendar
    duty: Duty
    damage: dict[str, np.ndarray]  # float64[T], at most 1
    signals: dict[str, np.ndarray]  # float64[T], what ideal sensors show
    failed: bool  # at the last step

    @property
    def worst(self) -> np.ndarray:
        return np.max(list(self.damage.values()), axis=0)


def simulate_pumps(machines: int, seed: int) -> Iterator[Record]:
    """The records of `machines` simulated pumps, pump-001 first. The same seed gives the same pumps.

    >>> [(r.asset, r.kind, len(r.time)) for r in simulate_pumps(2, seed=7)]
    [('pump-001', 'repair', 3550), ('pump-001', 'failure', 3731), ('pump-002', 'failure', 3532)]
    """
    if machines < 1:
        raise ValueError(f"machines = {machines}: a fleet needs at least 1")
    for number, sequence in enumerate(np.random.SeedSequence(seed).spawn(machines), start=1):
        yield from _records(f"pump-{number:03d}", sequence)


def _records(asset: str, sequence: np.random.SeedSequence) -> Iterator[Record]:
    story, *lives = (np.random.default_rng(s) for s in sequence.spawn(3))
    pump = draw_pump(story)
    level = float(story.uniform(0.76, 0.94))  # usual speed over rated speed
    start = FIRST_DAY + int(story.integers(200 / DAYS))
    fate = story.choice(
        ["midlife", "censored", "overhauled", "whole"],
        p=[MIDLIFE, CENSORED, OVERHAULED, 1 - MIDLIFE - CENSORED - OVERHAULED],
    )
    life = run_to_failure(lives[0], pump, level, start)
    count = len(life.step)
    if fate == "midlife":
        yield _record(lives[0], asset, pump, life, slice(int(story.uniform(0.2, 0.7) * count), count), known=False)
    elif fate == "censored":
        yield _record(lives[0], asset, pump, life, slice(0, int(story.uniform(0.4, 0.95) * count)))
    elif fate == "overhauled":
        overhaul = min(int(np.searchsorted(life.worst, story.uniform(0.2, 0.6))) + 1, count)
        yield _record(lives[0], asset, pump, life, slice(0, overhaul), ends="repair")
        start = int(life.step[overhaul - 1]) + int(story.uniform(1, 4) / DAYS)
        life = run_to_failure(lives[1], pump, level, start)
        yield _record(lives[1], asset, pump, life, slice(0, len(life.step)))
    else:
        yield _record(lives[0], asset, pump, life, slice(0, count))


def draw_pump(rng: np.random.Generator) -> Pump:
    """A pump of the class: sizes differ by a tenth, the motor is the next standard size with 15 % to spare."""
    flow = round(rng.uniform(1800, 2200), -1)
    pressure = round(rng.uniform(4.5, 5.5), 1)
    shaft = flow * pressure / 600 / 0.78
    return Pump(
        rated_flow=flow,
        rated_pressure=pressure,
        rated_speed=float(rng.choice([2940.0, 2950.0, 2960.0])),
        rated_power=next(size for size in MOTORS if size > 1.15 * shaft),
        efficiency=0.78 + 0.012 * rng.standard_normal(),
        head=1 + 0.015 * rng.standard_normal(),
        friction=rng.lognormal(0.0, 0.1),
        vibration=rng.lognormal(np.log(1.4), 0.15),
        pipe=rng.lognormal(0.0, 0.05),
        cooling=rng.lognormal(0.0, 0.06),
        sensitivity=Damage(*rng.lognormal(0.0, 0.08, 4)),
    )


def draw_duty(rng: np.random.Generator, pump: Pump, level: float, step: np.ndarray) -> Duty:
    """Speed follows day and week and wanders; the valve is moved thrice a day; the hall warms with sun and season."""
    day = step * DAYS
    working = np.clip(2.5 * np.cos(2 * np.pi * (day % 1 - 0.55)), -1, 1)
    weekend = (day + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    speed = level + 0.05 * working - 0.06 * weekend + 0.03 * wander(rng, len(step), 0.3 / DAYS)
    moved = np.cumsum(rng.random(len(step)) < 3 * DAYS)
    valve = VALVE_RATED + 8 * rng.standard_normal(len(step))[moved]
    season = 7 * np.cos(2 * np.pi * (day / 365.25 - 0.55))
    ambient = 19 + season + 3 * np.cos(2 * np.pi * (day - 0.62)) + 2 * wander(rng, len(step), 1 / DAYS)
    return Duty(
        speed=pump.rated_speed * lag(np.clip(speed, 0.6, 1.0), 0.5),
        valve_position=lag(np.clip(valve, 55, 100), 0.5),
        ambient_temperature=ambient,
        suction_pressure=SUCTION + 0.03 * wander(rng, len(step), 0.5 / DAYS),
    )


def run_to_failure(rng: np.random.Generator, pump: Pump, level: float, start: int) -> Life:
    """One life from new at calendar step `start` until the first damage reaches 1."""
    step = start + np.arange(LONGEST)
    duty = draw_duty(rng, pump, level, step)
    stress = (duty.speed / pump.rated_speed / 0.85) ** 3
    damage = {mode: grow(rng, course, stress, DAYS) for mode, course in draw_courses(rng, MODES).items()}
    failing = np.max(list(damage.values()), axis=0) >= 1
    count = int(failing.argmax()) + 1 if failing.any() else LONGEST
    duty = Duty(**{name: values[:count] for name, values in vars(duty).items()})
    damage = {mode: np.minimum(values[:count], 1.0) for mode, values in damage.items()}
    return Life(step[:count], duty, damage, _signals(pump, duty, Damage(**damage)), bool(failing.any()))


def _signals(pump: Pump, duty: Duty, damage: Damage) -> dict[str, np.ndarray]:
    """True values of all channels: the steady state, temperatures following it slowly."""
    signals = {
        "speed": duty.speed,
        "valve_position": duty.valve_position,
        "ambient_temperature": duty.ambient_temperature,
        **expected(pump, duty, damage),
    }
    for name, hours in (("motor_temperature", MOTOR_HOURS), ("bearing_temperature", BEARING_HOURS)):
        signals[name] = lag(signals[name], hours / (24 * DAYS))
    return signals


def _record(
    rng: np.random.Generator,
    asset: str,
    pump: Pump,
    life: Life,
    part: slice,
    known: bool = True,
    ends: str = "censored",
) -> Record:
    """The `part` of a life that was watched. Its first and last row always arrive."""
    step = life.step[part]
    arrived = np.ones(len(step), dtype=bool)
    for _ in range(rng.poisson(OUTAGES * DAYS * len(step))):
        begin = int(rng.integers(len(step)))
        arrived[begin : begin + 1 + int(rng.exponential(0.4) / DAYS)] = False
    arrived[[0, -1]] = True
    damage = {mode: values[part][arrived].astype(np.float32) for mode, values in life.damage.items()}
    channels = {
        name: measure(rng, instrument, life.signals[name][part], DAYS)[arrived]
        for name, instrument in INSTRUMENTS.items()
    }
    time = step[arrived] * (STEP * NANOS)
    age = (step[arrived] - life.step[0]) * (STEP / 3600)
    if life.failed and part.stop == len(life.step):
        ends = "failure"
    return Record(
        asset=asset,
        time=time,
        channels=channels,
        age=age if known else np.full(len(time), np.nan),
        new=known,
        kind=ends,
        end=int(time[-1]),
        settings={name: getattr(pump, name) for name in ("rated_flow", "rated_pressure", "rated_speed", "rated_power")},
        fault=max(damage, key=lambda mode: damage[mode][-1]),
        damage=damage,
    )
