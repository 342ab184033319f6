"""Lives: from new or renewed to failure, repair or the end of the record; artifacts/<fleet>/lives.csv."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from data.asset_class import AssetClass
from data.errors import SourceError
from data.recording import End, Recording
from edge_runtime.contract.event import Event

Kind = Literal["failure", "repair", "censored"]


@dataclass(frozen=True)
class Life:
    """One life of one machine; times in nanos."""

    asset: str
    life: int  # 0, 1, … per asset
    begin: int  # first row
    last: int  # last row
    end: int  # failure or repair; of a censored life its last row
    kind: Kind
    held_out: bool  # the source's own test machine
    known_new: bool  # it is known to begin new or renewed


def divide(cls: AssetClass, recording: Recording) -> tuple[list[Life], np.ndarray, list[End]]:
    """Divide the observations of one machine, ascending in time, into lives.

    A life that no failure or repair ends, ends as `life.ends` of the class says. Returns the lives, the life of each
    observation int32[T], and the failures and repairs that end no life, because they come before the record or after
    another one. Of a failure and a repair at one time, or within one assembled observation, the failure counts: what
    failed is repaired, and the order of a log says nothing.
    """
    time, ends = recording.time, sorted(recording.ends, key=lambda end: (end.time, end.kind != "failure"))
    begins = starts(recording)
    stops = np.append(begins[1:], time.size)
    lives, used = [], []
    for number, (start, stop) in enumerate(zip(begins, stops, strict=True)):
        first, last = int(time[start]), int(time[stop - 1])
        following = int(time[stop]) if stop < time.size else None
        end = next((e for e in ends if first <= e.time and (following is None or e.time < following)), None)
        used += [end]
        final = following is None
        fails = cls.life.ends == "failure" and not (final and recording.censored)
        known_new = number > 0 or _begins_new(cls, recording)
        kind: Kind = end.kind if end else "failure" if fails else "censored"
        when = end.time if end else last
        lives.append(Life(recording.asset, number, first, last, when, kind, recording.held_out, known_new))
    outside = [end for end in ends if not any(end is each for each in used)]
    return lives, np.repeat(np.arange(len(lives), dtype=np.int32), stops - begins), outside


def _begins_new(cls: AssetClass, recording: Recording) -> bool:
    """Whether the first life begins new: the source's word, else the class's."""
    if recording.event is not None and recording.event[0] == Event.NEW_LIFE:
        return True
    return cls.life.begins == "new" if recording.begins_new is None else recording.begins_new


def starts(recording: Recording) -> np.ndarray:
    """The first row of each life, ascending: row 0, and those after a failure or repair, where the source's life column
    changes, or where its event column says so. Rows ascend in time."""
    time = recording.time
    begins = np.zeros(time.size, dtype=bool)
    begins[0] = True
    if recording.life is not None:
        begins[1:] |= np.diff(recording.life) != 0
    if recording.event is not None:
        begins |= recording.event == Event.NEW_LIFE
    after = np.searchsorted(time, np.array([end.time for end in recording.ends], dtype=np.int64), side="right")
    begins[after[after < time.size]] = True
    return np.flatnonzero(begins)


def ages(cls: AssetClass, recording: Recording, lives: Sequence[Life], life: np.ndarray) -> np.ndarray:
    """Age f64[T] in the unit of life: as given; else, in a life known to begin new, since its first row; else NaN."""
    unknown = np.full(recording.time.size, np.nan)
    if cls.life.age == "none":
        return unknown
    age = unknown if recording.age is None else recording.age
    if np.isnan(age).all():
        begin = np.array([each.begin for each in lives])[life]
        new = np.array([each.known_new for each in lives])[life]
        age = np.where(new, (recording.time - begin) / 1e9 / cls.time_units_per_life_unit, np.nan)
    if cls.life.age == "required" and np.isnan(age).any():
        first = lives[int(life[np.flatnonzero(np.isnan(age))[0]])]
        raise SourceError(
            f"class '{cls.name}' says age: required, but the age of {first.asset} in life {first.life} is not known: "
            "name source.age, a column of ages; or set life.begins: new if records begin with new machines; "
            "or set life.age: optional"
        )
    return age


def events(recording: Recording, lives: Sequence[Life]) -> np.ndarray:
    """Event int8[T]: 1 on the first row of each life known to begin new, 2 where the source says so."""
    event = np.zeros(recording.time.size, dtype=np.int8)
    if recording.event is not None:
        event[recording.event == Event.SENSOR_REPLACED] = Event.SENSOR_REPLACED
    event[np.searchsorted(recording.time, [life.begin for life in lives if life.known_new])] = Event.NEW_LIFE
    return event


def write_lives(lives: Sequence[Life], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [field.name for field in fields(Life)]
    pd.DataFrame([asdict(life) for life in lives], columns=columns).to_csv(path, index=False, lineterminator="\n")


def read_lives(path: Path) -> list[Life]:
    table = pd.read_csv(path, dtype={"asset": str, "kind": str}, keep_default_na=False)  # a machine may be called NA
    return [Life(**row) for row in table.to_dict("records")]
