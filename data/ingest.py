"""Stage `ingest`: from source files to validated observations.

python -m data.ingest <fleet>            observations, lives, machines, quality report and rejected rows
python -m data.ingest <fleet> -o FILE    observations alone, fetching what is needed; works on a clean clone
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from data import command, fetch, paths
from data.arrange import arrange, assemble
from data.asset_class import AssetClass
from data.class_file import load
from data.errors import SourceError
from data.lives import Life, ages, divide, events, write_lives
from data.observations import Timeline, Writer
from data.quality import Report
from data.readers import reader_of
from data.recording import Recording
from data.resolve import read_class


def ingest(cls: AssetClass, raw: Path, file: Path, report: Report) -> tuple[list[Life], dict[str, dict[str, float]]]:
    """Write the observations of the recordings in `raw` to `file`; returns all lives, and the settings by asset."""
    if not raw.exists():
        raise SourceError(f"{raw} is missing: run `python -m data.fetch {cls.fleet}` first")
    lives: list[Life] = []
    settings: dict[str, dict[str, float]] = {}
    with Writer(file, cls) as writer:
        recordings = reader_of(cls).read(cls, raw, report)
        for recording in tqdm(recordings, f"ingest {cls.fleet}", unit=" machines", disable=None):
            settings[recording.asset] = dict(recording.settings)
            lives += _ingest_one(cls, recording, writer, report)
        report.refuse_impossible()
    return lives, settings


def _ingest_one(cls: AssetClass, recording: Recording, writer: Writer, report: Report) -> list[Life]:
    ordered, duplicates, out_of_order = arrange(recording)
    report.received(ordered, duplicates, out_of_order)
    observed = assemble(cls, ordered)
    if observed.time.size == 0:
        report.note(f"{ordered.asset}: not one value received, so it is left out")
        return []
    lives, life, outside = divide(cls, observed)
    report.ends(lives, outside)
    report.observed(observed)
    age = ages(cls, observed, lives, life)
    writer.write(observed.asset, Timeline(observed.time, life, events(observed, lives), age), observed.channels)
    for channel, (row, samples) in observed.waveforms.items():
        writer.write_waveform(observed.asset, channel, observed.time[row], samples)
    return lives


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
