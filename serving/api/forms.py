"""The wire form of what the service tells of itself."""

from __future__ import annotations

from pydantic import Field

from serving.predict.forms import Form, Model


class ChannelForm(Form):
    name: str
    quantity: str
    unit: str
    range: list[float] = Field(description="what is physically possible")


class WaveformForm(Form):
    name: str
    unit: str
    axes: list[str]
    samples: int


class SettingForm(Form):
    name: str
    unit: str
    range: list[float]
    default: float


class ModelForm(Model):
    """One served version: what its observations are made of."""

    title: str
    aliases: list[str]
    default: bool = Field(description="the version for requests that name none")
    age: str = Field(description="required, optional or none")
    channels: list[ChannelForm]
    waveforms: list[WaveformForm]
    settings: list[SettingForm]


class Models(Form):
    """`problems`: what cannot be served, and why."""

    models: list[ModelForm]
    problems: dict[str, str]


class Ready(Form):
    ready: bool
    models: int
    database: str
