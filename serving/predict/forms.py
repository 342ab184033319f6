"""The wire form of requests and answers, as OpenAPI documents it. Only shapes are checked here; see `reading`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Time = Annotated[
    str | Number,
    Field(
        description="ISO 8601 (UTC where no zone is named) or UTC seconds; cycles for a class that counts cycles",
        examples=["2026-01-03T10:00:00Z"],
    ),
]
EventName = Literal["none", "new_life", "sensor_replaced"]
Open = Literal["rul", "rul_lower", "rul_upper"]


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Observation(Form):
    """What one machine showed at one time. A channel that is null or left out was not received."""

    time: Time
    readings: dict[Name, Number | None] = Field(description="channel → value, in the unit of the manifest")
    event: EventName = "none"
    age: Number | None = Field(None, description="in the unit of life; null: unknown")
    waveforms: dict[Name, list[list[Number]]] = Field(
        default_factory=dict, description="waveform → samples of each axis"
    )


class Columns(Form):
    """Many machines at once, one value a row in each column; the rows of one machine in order of time."""

    asset: list[Id]
    time: list[Time]
    readings: dict[Name, list[Number | None]]
    event: list[EventName] | None = None
    age: list[Number | None] | None = None


class PredictRequest(Form):
    """Either `observations` of one machine, oldest first, or `columns` of many."""

    fleet: Name = Field(description="a fleet, or a class of which one fleet is served", examples=["pump"])
    version: Name | None = Field(None, description="of the model: number, alias or model_id; left out: the default")
    asset: Id | None = Field(None, description="the machine of `observations`")
    observations: list[Observation] | None = Field(None, min_length=1)
    columns: Columns | None = None
    continue_: bool = Field(
        False,
        alias="continue",
        description="go on from the stored twin; false: twins that have seen only what is in this request",
    )
    store: bool | None = Field(
        None,
        description="keep what a continued twin learns. Left out: if the centre owns it; true: or refuse; false: never",
    )
    term: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="refuse unless the twin's owner still has this term"
    )
    after: Annotated[int, Field(ge=0, le=2**62)] | None = Field(
        None, description="refuse unless this is the number of the twin's last observation"
    )
    settings: dict[Name, Number] = Field(default_factory=dict, description="of the machine; left out: class default")
    units: dict[Name, str] = Field(
        default_factory=dict, description="channel → unit the readings are in, to be checked"
    )
    out_of_range: Literal["flag", "refuse"] = Field(
        "flag",
        description="a reading that is physically impossible: flag it, as the gateway does, or refuse the request",
    )
    every: bool = Field(False, description="a prognosis for each observation, not only for the last")
    detail: bool = Field(False, description="each model's remaining life too")


class Model(Form):
    """What computed the answer, and from which run and data it came."""

    model_id: str
    fleet: str
    asset_class: str
    version: str
    mlflow_run: str | None
    data_hash: str | None
    commit: str | None
    simulated: bool = Field(description="learnt from simulated machines")
    time_unit: str
    life_unit: str = Field(description="of rul, rul_lower, rul_upper, age, horizon and cap")
    horizon: float = Field(description="of failure_probability")
    cap: float = Field(description="remaining lives are told up to here")


class Contribution(Form):
    channel: str
    value: float


class Prognosis(Form):
    """`open` names what reaches beyond the cap: its value is null, to be shown as "> cap"."""

    asset: str | None
    term: int | None = None
    number: int
    time: str
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
    quality: dict[str, list[str]] = Field(description="channel → why its reading was not used as it came")
    contributions: list[Contribution] = Field(description="the channels that drive it, the largest first")
    rul_model: dict[str, float | None] | None = None


class Prognoses(Form):
    """A value a row in each column; `open`: whether it reaches beyond the cap (then it is null)."""

    asset: list[str]
    term: list[int | None] | None = None
    number: list[int]
    time: list[str]
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
    rul_model: dict[str, list[float | None]] | None = None


class PredictAnswer(Form):
    """`prognoses` of a request with observations, `columns` of one with columns."""

    model: Model
    stored: bool = Field(description="whether the twins and these prognoses are kept; false: a preview")
    notes: list[str]
    prognoses: list[Prognosis] | None = None
    columns: Prognoses | None = None
