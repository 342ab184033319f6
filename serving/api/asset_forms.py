"""The wire form of machines: what is told of them, and how they are asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.api.query import QueryForm
from serving.predict.forms import Form, Model, Name, Number, Open

Whole = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]  # no database takes a NUL
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}$")]


class AssetsQuery(QueryForm):
    under: Path | None = Field(None, description="a plant or a part of it: north/line-2", examples=["north"])
    class_: Identifier | None = Field(None, alias="class", description="asset class")
    alarm: Annotated[int, Field(ge=0, le=3)] | None = Field(None, description="at this alarm level or above")
    gateway: Identifier | None = Field(None, description="whose twins this gateway owns")
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Identifier | None = Field(None, description="`next` of the page before")


class Owner(Form):
    """`gateway` null: the centre owns the twin."""

    gateway: str | None
    term: int
    online: bool | None = Field(description="whether the gateway is; null: the centre owns the twin")
    heard: str | None = Field(description="when the gateway's status last came")


class PlaceForm(Form):
    path: str
    kind: str
    title: str
    criticality: str


class Values(Form):
    """`open` names what reaches beyond the cap: its value is null, to be shown as "> cap"."""

    health: float | None
    anomaly_score: float | None
    failure_probability: float | None
    rul: float | None
    rul_lower: float | None
    rul_upper: float | None
    open: list[Open]
    alarm: int
    warming_up: float | None
    unfamiliar: float | None


class Latest(Values):
    """The newest prognosis; `received` at the gateway, or here if it was asked for here."""

    time: str
    term: int
    number: int
    model_id: str
    received: str
    age: float = Field(description="seconds since it was received")


class AssetForm(Form):
    """`time_unit`, `life_unit` and `cap` are null while no bundle of the class is served here."""

    asset: str
    asset_class: str
    tier: str
    owner: Owner
    place: PlaceForm | None = Field(description="in the plant; null: nowhere yet")
    latest: Latest | None = Field(description="null: no prognosis yet")
    time_unit: str | None
    life_unit: str | None
    cap: float | None


class AssetsAnswer(Form):
    assets: list[AssetForm]
    next: str | None = Field(description="give it as `after` for the next page; null: this is the last")


class OwnerThen(Form):
    term: int
    gateway: str | None
    since: str
    by: str
    reason: str


class SettingValue(Form):
    """`value` null: that of the class, `default`."""

    name: str
    unit: str
    range: list[float]
    default: float
    value: float | None


class SettingsQuery(QueryForm):
    version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(None, description="as they were; left out: now")


class SettingsAnswer(Form):
    """`version` 0: nothing was ever set. `known`: all that can be set, null while no bundle of the class is served."""

    asset: str
    version: int
    values: dict[str, float]
    at: str | None
    by: str
    reason: str
    known: list[SettingValue] | None


class SettingsRequest(Form):
    """`values` replace all that were set before; what is left out has the default of the class again."""

    values: dict[Name, Number]
    reason: Annotated[Text, Field(min_length=1)]
    version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="refuse unless this is the present version"
    )


class AssetWhole(AssetForm):
    settings: SettingsAnswer
    owners: list[OwnerThen] = Field(description="all that the twin has had, the present one last")


class HistoryQuery(QueryForm):
    kind: Literal["prognoses", "observations", "summaries"] = "prognoses"
    start: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="time, included; left out: the newest rows", examples=["2026-01-03T10:00:00Z"]
    )
    end: Annotated[str, Field(max_length=64)] | None = Field(None, description="time, not included")
    step: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = Field(
        None,
        description="at most one row in so many units of time: the one with the highest alarm, of these the newest",
    )
    limit: Annotated[int, Field(ge=1, le=10_000)] = 2000
    after: Annotated[str, Field(pattern=r"^-?[0-9]{1,19}_[0-9]{1,10}_[0-9]{1,18}$")] | None = Field(
        None, description="`next` of the page before"
    )


class Rows(Form):
    """A value a row in each column, in order of time."""

    time: list[str]
    term: list[int]
    number: list[int]
    received: list[str]
    model: list[int] = Field(description="place in `models`")


class PrognosisRows(Rows):
    health: list[float | None]
    anomaly_score: list[float | None]
    failure_probability: list[float | None]
    rul: list[float | None]
    rul_lower: list[float | None]
    rul_upper: list[float | None]
    open: dict[Open, list[bool]]
    alarm: list[int]
    warming_up: list[float | None]
    unfamiliar: list[float | None]


class ObservationRows(Rows):
    readings: dict[str, list[float | None]]
    event: list[str]
    age: list[float | None]


class Channel(Form):
    minimum: list[float | None]
    mean: list[float | None]
    maximum: list[float | None]
    received: list[int]


class SummaryRows(Rows):
    """Of intervals from `start` (included) to `end`; time and number are of the last observation in it."""

    start: list[str]
    end: list[str]
    count: list[int]
    alarm: list[int]
    channels: dict[str, Channel]


class HistoryAnswer(Form):
    asset: str
    kind: str
    time_unit: str | None
    models: list[str]
    next: str | None = Field(description="give it as `after` for the next page; null: this is the last")
    earlier: bool = Field(description="whether rows lie before these, where start was left out")
    prognoses: PrognosisRows | None = None
    observations: ObservationRows | None = None
    summaries: SummaryRows | None = None


class StateQuery(QueryForm):
    t: Annotated[str, Field(max_length=64)] = Field(
        description="the moment, in the time of the class", examples=["2026-01-03T10:00:00Z"]
    )


class Slice(Form):
    name: str
    scope: str
    start: int
    size: int


class At(Form):
    term: int
    number: int


class CheckForm(Form):
    """`difference` 0: replayed on to this snapshot, the twin comes out equal bit by bit."""

    term: int
    number: int
    difference: float | None = Field(description="null: they cannot be compared")
    tolerance: float


class StateAnswer(Form):
    """The twin after observation (`term`, `number`) at `time`, the last one until the moment asked for."""

    asset: str
    time: str
    term: int
    number: int
    model: Model
    state: str = Field(description="float32, little-endian, in base64")
    slices: list[Slice] = Field(description="which part of the state is what")
    snapshot: At | None = Field(description="what it was replayed from; null: from a new twin")
    replayed: int
    check: CheckForm | None = Field(description="against the next snapshot; null: there is none yet")
    prognosis: Values | None = Field(description="of that observation, null: not kept")
    notes: list[str]
