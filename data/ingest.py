"""Stage `ingest`: from source files to validated observations.

python -m data.ingest <fleet>            observations, lives, machines, quality report and rejected rows
python -m data.ingest <fleet> -o FILE    observations alone, fetching what is needed; works on a clean clone
"""

import argparse
import csv
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data import command, fetch, paths
from data.asset_class import AssetClass, load
from data.lives import Life, ages, divide, events, write_lives
from data.observations import Timeline, Writer
from data.quality import Report
from data.readers import reader_of
from data.recording import Recording
from data.resolve import read_class


def ingest(cls: AssetClass, raw: Path, file: Path, report: Report) -> tuple[list[Life], dict[str, dict[str, float]]]:
    """Write the observations of the recordings in `raw` to `file`; returns all lives, and the settings by asset."""
    lives: list[Life] = []
    settings: dict[str, dict[str, float]] = {}
    with Writer(file, cls) as writer:
        for recording in tqdm(reader_of(cls).read(cls, raw, report), f"ingest {cls.fleet}", unit=" machines"):
            settings[recording.asset] = dict(recording.settings)
            lives += _ingest_one(cls, recording, writer, report)
        report.refuse_impossible()
    return lives, settings


def _ingest_one(cls: AssetClass, recording: Recording, writer: Writer, report: Report) -> list[Life]:
    ordered, duplicates, out_of_order = arrange(recording)
    report.received(ordered, duplicates, out_of_order)
    time, channels, age, event = ordered.time, dict(ordered.channels), ordered.age, ordered.event
    lives, life, outside = divide(cls, ordered, time)
    report.counts["failures_outside_record"] += outside
    unknown = np.full(time.size, np.nan)
    none = np.zeros(time.size, np.int8)
    age = ages(cls, lives, time, life, unknown if age is None else age)
    timeline = Timeline(time, life, events(lives, time, none if event is None else event), age)
    report.observed(ordered.asset, time, channels)
    writer.write(ordered.asset, timeline, channels)
    return lives


def arrange(recording: Recording) -> tuple[Recording, int, int]:
    """Rows ascending in time, of duplicated times the first; and how many were duplicates, and out of order."""
    time = recording.time
    if (np.diff(time) > 0).all():
        return recording, 0, 0
    out_of_order = int((time < np.maximum.accumulate(time)).sum())
    order = np.argsort(time, kind="stable")
    order = order[np.diff(time[order], prepend=time[order[0]] - 1) > 0]

    def pick(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[order]

    arranged = dataclasses.replace(
        recording,
        time=time[order],
        channels={name: values[order] for name, values in recording.channels.items()},
        age=pick(recording.age),
        life=pick(recording.life),
        event=pick(recording.event),
    )
    return arranged, time.size - order.size, out_of_order


def write_machines(cls: AssetClass, settings: dict[str, dict[str, float]], path: Path) -> None:
    """artifacts/<fleet>/machines.csv: asset and settings; an empty cell means the class default."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["asset", *cls.settings], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"asset": asset, **values} for asset, values in settings.items())


def run_stage(fleet: str) -> Report:
    """Everything the stage writes."""
    cls = read_class(fleet)
    with paths.artifact(fleet, "rejected.csv").open("w", encoding="utf-8", newline="") as rejected:
        report = Report(cls, rejected)
        lives, settings = ingest(cls, paths.raw(fleet), paths.observations(fleet), report)
    write_lives(lives, paths.artifact(fleet, "lives.csv"))
    write_machines(cls, settings, paths.artifact(fleet, "machines.csv"))
    report.write(paths.artifact(fleet, "quality.json"))
    return report


def run_alone(fleet: str, file: Path) -> Report:
    """The observations alone, from whatever is needed."""
    cls = load(fleet)
    fetch.fetch(cls)
    report = Report(cls)
    ingest(cls, paths.raw(fleet), file, report)
    return report


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def main(args: argparse.Namespace) -> None:
    report = run_alone(args.fleet, Path(args.output)) if args.output else run_stage(args.fleet)
    _print(report.lines())


if __name__ == "__main__":
    command.run(__doc__, main, ("-o --output", "write the observations alone, to this file"))
