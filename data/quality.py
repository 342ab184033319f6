"""What was wrong with the data, counted: artifacts/<fleet>/quality.json.

Nothing is dropped silently. Values stay as measured, the graph flags them again one by one; here they are counted, with
an example each. Only what cannot be what the class says is refused: a channel most of whose values are impossible.
"""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from data.asset_class import AssetClass
from data.errors import SourceError
from data.lives import Life
from data.recording import End, Recording

# A channel of which a larger share is outside its range has another unit; one of whose cells a larger share is no
# number is another column. Faulty sensors stay below: they fail on some machines, for some of the time.
REFUSED_SHARE = 0.5
EXAMPLES = 5


@dataclass
class ChannelTally:
    """Counts over the rows of the source."""

    received: int = 0
    missing: int = 0
    out_of_range: int = 0
    first_out_of_range: dict[str, Any] | None = None
    unparsable: int = 0
    unparsable_examples: list[str] = field(default_factory=list)
    low: float = np.inf
    high: float = -np.inf
    longest_missing_run: int = 0  # observations
    constant_assets: list[str] = field(default_factory=list)


class Report:
    """Collects what is found while a fleet is ingested."""

    def __init__(self, cls: AssetClass, rejected: TextIO | None = None) -> None:
        """`rejected`: where rows that cannot be used are kept, as CSV."""
        self.cls = cls
        self.channels = {name: ChannelTally() for name in cls.scalars}
        self.assets: dict[str, dict[str, int]] = {}
        self.files: dict[str, dict[str, int]] = {}
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self._rejections: dict[tuple[str, str], str] = {}  # the first of each file and reason
        self._rejected = csv.writer(rejected, lineterminator="\n") if rejected else None
        if self._rejected:
            self._rejected.writerow(["file", "row", "reason", "content"])

    def file(self, name: str, rows: int) -> None:
        self.files[name] = {"rows": self.files.get(name, {}).get("rows", 0) + rows}

    def note(self, text: str) -> None:
        """Something a person should know, said once."""
        if text not in self.notes:
            self.notes.append(text)

    def reject(self, file: str, row: int, reason: str, content: str) -> None:
        """Set a row of the source aside; `row` counts data rows from 1."""
        self.counts["rejected"] += 1
        self._rejections.setdefault((file, reason), f"rejected: {file}: {reason}, first in row {row}: {content}")
        if self._rejected:
            self._rejected.writerow([file, row, reason, content])

    def unparsable(self, channel: str, count: int, examples: list[str]) -> None:
        """`count` cells of a channel are not numbers; they became NaN."""
        tally = self.channels[channel]
        tally.unparsable += count
        tally.unparsable_examples = (tally.unparsable_examples + examples)[:EXAMPLES]

    def received(self, recording: Recording, duplicates: int, out_of_order: int) -> None:
        """Rows of one machine, sorted and without the duplicates."""
        asset = self.assets.setdefault(recording.asset, {})
        asset.update(rows=recording.time.size, duplicates=duplicates, out_of_order=out_of_order)
        self.counts["duplicates"] += duplicates
        self.counts["out_of_order"] += out_of_order
        missing = outside = 0
        for name, values in recording.channels.items():
            tally, (low, high) = self.channels[name], self.cls.channels[name].range
            known = values[~np.isnan(values)]
            bad = (known < low) | (known > high)
            tally.received += known.size
            tally.missing += values.size - known.size
            tally.out_of_range += int(bad.sum())
            missing += values.size - known.size
            outside += int(bad.sum())
            if known.size:
                tally.low = min(tally.low, float(known.min()))
                tally.high = max(tally.high, float(known.max()))
                if known.size > 1 and known.min() == known.max():
                    tally.constant_assets.append(recording.asset)
            if bad.any() and tally.first_out_of_range is None:
                row = int(np.flatnonzero((values < low) | (values > high))[0])
                tally.first_out_of_range = {
                    "asset": recording.asset,
                    "time": moment(self.cls, int(recording.time[row])),
                    "value": float(values[row]),
                }
        asset.update(missing=missing, out_of_range=outside)

    def ends(self, lives: Sequence[Life], outside: Sequence[End]) -> None:
        """How the `lives` of one machine ended, and which of its failures and repairs are `outside` of all of them."""
        ending = {life.end: life.kind for life in lives}
        for end in outside:
            what = "ends_at_the_same_time" if end.time in ending else "failures_outside_record"
            self.counts[what] += 1
            if self.counts[what] <= EXAMPLES:
                why = (
                    f"a {ending[end.time]} ends that life already, at the same time or within the same observation"
                    if end.time in ending
                    else "it is before its first row, or after the last with another one between; correct the time, or "
                    "take it out"
                )
                self.note(
                    f"failure log: {end.kind} of {lives[0].asset} at {moment(self.cls, end.time)} ends no life: {why}"
                )
        for life in lives:
            silent = life.end - life.last
            if life.kind == "failure" and not life.held_out and silent > self.cls.time.max_gap * 1e9:
                self.counts["failures_long_after_record"] += 1
                if self.counts["failures_long_after_record"] <= EXAMPLES:
                    self.note(
                        f"failure log: {life.asset} failed at {moment(self.cls, life.end)}, but its rows end at "
                        f"{moment(self.cls, life.last)}, more than time.max_gap before: they are taken to be as "
                        "healthy as that says; correct the time if it is wrong"
                    )

    def observed(self, recording: Recording) -> None:
        """Observations of one machine."""
        step = np.diff(recording.time)
        interval = self.cls.time.interval * 1e9
        self.assets[recording.asset].update(
            observations=recording.time.size,
            irregular_steps=int((np.abs(step - interval) > 0.01 * interval).sum()),
            gaps=int((step > self.cls.time.max_gap * 1e9).sum()),
        )
        for name, values in recording.channels.items():
            tally = self.channels[name]
            tally.longest_missing_run = max(tally.longest_missing_run, longest_run(np.isnan(values)))

    def refuse_impossible(self) -> None:
        """Raise `SourceError` for each channel that cannot be what the class says."""
        if not self.assets:
            raise SourceError(f"{self.cls.fleet}: no usable row in {', '.join(self.files) or 'the source'}")
        problems = []
        for name, tally in self.channels.items():
            channel, where = self.cls.channels[name], f"data/asset_classes/{self.cls.name}.yaml"
            cells = tally.received + tally.unparsable
            if tally.unparsable > REFUSED_SHARE * cells:
                problems.append(
                    f"channel '{name}': {tally.unparsable / cells:.0%} of its cells are not numbers, e.g. "
                    f"{tally.unparsable_examples[0]!r}: check source.columns and the separator in {where} "
                    "(the decimal sign is a point)"
                )
            elif tally.out_of_range > REFUSED_SHARE * tally.received:
                first = tally.first_out_of_range or {}
                problems.append(
                    f"channel '{name}' is declared in {channel.unit} ({channel.range[0]:,g}…{channel.range[1]:,g}); "
                    f"{tally.out_of_range / tally.received:.0%} of its values lie outside, e.g. {first['value']:,g} "
                    f"of {first['asset']} at {first['time']}: check the unit in {where}"
                )
        if problems:
            raise SourceError("\n".join(problems))

    def summary(self) -> dict[str, Any]:
        """The report as JSON; None where there is nothing to say."""
        return {
            "fleet": self.cls.fleet,
            "files": self.files,
            "assets": len(self.assets),
            "rows": sum(asset["rows"] for asset in self.assets.values()),
            "observations": sum(asset.get("observations", 0) for asset in self.assets.values()),
            "counts": dict(sorted(self.counts.items())),
            "single_observation_assets": [name for name, a in self.assets.items() if a.get("observations") == 1],
            "notes": self.notes,
            "channels": {name: self._channel(name) for name in self.channels},
            "per_asset": self.assets,
        }

    def _channel(self, name: str) -> dict[str, Any]:
        tally = self.channels[name]
        seen, first = tally.received > 0, tally.first_out_of_range
        return {
            "unit": self.cls.channels[name].unit,
            "range": list(self.cls.channels[name].range),
            "received": tally.received,
            "missing": tally.missing,
            "unparsable": tally.unparsable,
            "unparsable_examples": tally.unparsable_examples,
            "out_of_range": tally.out_of_range,
            "first_out_of_range": first and first | {"value": _number(first["value"])},
            "min": _number(tally.low) if seen else None,
            "max": _number(tally.high) if seen else None,
            "constant": seen and tally.low == tally.high,
            "constant_assets": tally.constant_assets,
            "longest_missing_run": tally.longest_missing_run,
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.summary(), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")

    def lines(self) -> list[str]:
        """The report for a terminal: one line a finding."""
        report = self.summary()
        found = [f"{report['fleet']}: {report['assets']} machines, {report['observations']:,} observations"]
        found += [f"{name.replace('_', ' ')}: {count:,}" for name, count in report["counts"].items() if count]
        found += self._rejections.values()
        for name, channel in report["channels"].items():
            for what in ("missing", "unparsable", "out_of_range"):
                if channel[what]:
                    found.append(f"channel '{name}': {channel[what]:,} {what.replace('_', ' ')}")
            if channel["received"] == 0:
                found.append(f"channel '{name}': never received")
            elif channel["constant"]:
                found.append(f"channel '{name}': constant at {channel['min']}")
        if report["single_observation_assets"]:
            found.append(f"machines with one observation: {', '.join(report['single_observation_assets'])}")
        return found + report["notes"]


def _number(value: float) -> float | str:
    """JSON has no infinities: they are told in words."""
    return value if np.isfinite(value) else str(value)


def longest_run(flags: np.ndarray) -> int:
    """Length of the longest run of True.

    >>> longest_run(np.array([True, False, True, True]))
    2
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def moment(cls: AssetClass, nanos: int) -> str:
    """A time as people write it: ISO 8601 in UTC, or a cycle number."""
    if cls.time.unit == "cycle":
        return f"cycle {nanos / 1e9:g}"
    return datetime.fromtimestamp(nanos // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")
