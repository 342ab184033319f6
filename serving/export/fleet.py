"""One class of the database as a fleet of the pipeline, a machine at a time."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from data import class_file, paths
from data.asset_class import AssetClass
from data.recording import End
from edge_runtime.contract.names import is_identifier
from serving.database import queries
from serving.database.engine import Database
from serving.database.queries import Asset
from serving.database.tables import asset_settings, assets
from serving.errors import ConfigError, InvalidError
from serving.export import files
from serving.export.ends import count, ends_of
from serving.export.machine import Machine, Tally
from serving.export.tables import read_log, read_settings

_SHOWN = 5  # names told at once


@dataclass(frozen=True)
class Wanted:
    """What to export: observations of `asset_class` in [since, until), nanos of source time; None: all there are.

    `classes` is where class files lie, `sources` where those of the fleets go; both relative to the repository.
    """

    asset_class: str
    fleet: str
    since: int | None = None
    until: int | None = None
    failures: Path | None = None
    settings: Path | None = None  # of machines that have none in the registry
    skip_unusable: bool = False  # rows of the log of failures, instead of refusing it
    classes: Path = class_file.CLASSES
    sources: Path = paths.SOURCES

    @property
    def folder(self) -> Path:
        return self.sources / self.fleet

    @property
    def class_file(self) -> Path:
        return self.classes / f"{self.fleet}.yaml"


@dataclass
class _Found:
    """What is gathered on the way through the machines."""

    nameplates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # given, by machine
    tallies: dict[str, Tally] = field(default_factory=dict)
    ends: dict[str, list[End]] = field(default_factory=dict)
    settings: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, dict[str, int]] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)  # machines without one row
    refused: Counter[str] = field(default_factory=Counter)


def export(database: Database, wanted: Wanted) -> dict[str, Any]:
    """Write the fleet's files and its class file, and return the manifest. What is there already stays until all is.

    `InvalidError` if there is nothing to export, `ConfigError` if the fleet's name cannot be used; errors of `data`
    for a class file or a log of failures that cannot be.
    """
    cls = _class(wanted)
    log, report = ({}, None) if wanted.failures is None else read_log(cls, wanted.failures, skip=wanted.skip_unusable)
    wanted.sources.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.sources, prefix=f".{wanted.fleet}-") as scratch:
        folder = Path(scratch) / wanted.fleet
        folder.mkdir()
        found = _Found(read_settings(cls, wanted.settings))
        with _still(database) as connection:
            machines = queries.list_assets(connection, assets.c.asset_class == cls.name)
            within = (
                queries.START if wanted.since is None else wanted.since,
                queries.END if wanted.until is None else wanted.until,
            )
            with files.Observations(folder / files.OBSERVATIONS, cls) as writer:
                for asset in sorted(machines, key=lambda asset: asset.name):
                    known = _before(wanted.until, log.get(asset.name, []))
                    _one(connection, cls, asset, within, known, writer, found)
        if not found.tallies:
            raise InvalidError(_nothing(wanted, machines, found))
        found.refused["failures of unknown machines"] = sum(
            len(own) for name, own in log.items() if name not in found.tallies
        )
        if report is not None:
            found.refused["unusable rows of the failure log"] = report.counts["rejected"]
        files.write_settings(folder / files.SETTINGS, cls, found.settings)
        files.write_ends(folder / files.FAILURES, cls, found.ends)
        notes = [*([] if report is None else report.notes), *_strangers(cls, log, found)]
        manifest = _manifest(cls, wanted, found, notes) | {"logged_failures": logged_failures(cls, wanted, log)}
        files.write_manifest(folder / files.MANIFEST, manifest)
        text = files.class_file(cls, wanted.fleet, folder)
        shutil.rmtree(wanted.folder, ignore_errors=True)
        folder.rename(wanted.folder)
    wanted.class_file.write_text(text, encoding="utf-8")
    class_file.load(wanted.fleet, wanted.classes)
    return manifest


@contextlib.contextmanager
def _still(database: Database) -> Iterator[Connection]:
    """A transaction that sees one state of the database: rows come, and are thinned, while this goes on."""
    if database.sqlite:  # there it always does
        with database.read() as connection:
            yield connection
        return
    level = {"isolation_level": "REPEATABLE READ"}
    with database.engine.connect().execution_options(**level) as connection, connection.begin():
        yield connection


def _class(wanted: Wanted) -> AssetClass:
    """The class, whatever its own source; the fleet must be a new subset of it, or one exported before."""
    name, fleet = wanted.asset_class, wanted.fleet
    if not is_identifier(fleet) or not fleet.startswith(f"{name}-") or fleet == f"{name}-":
        raise ConfigError(f"--fleet '{fleet}': write {name}- and a name for what is exported, such as {name}-plant")
    path = wanted.class_file
    if path.exists() and not path.read_text(encoding="utf-8").startswith(files.MARK):
        raise ConfigError(f"{path} was not written by an export and stays as it is: choose another --fleet")
    cls = class_file.load_class(name, wanted.classes)
    if fleet.removeprefix(f"{name}-") in getattr(cls.source, "subsets", ()):
        raise ConfigError(f"--fleet '{fleet}' is a subset that {name}.yaml has already: choose another name")
    return cls


def logged_failures(cls: AssetClass, wanted: Wanted, log: Mapping[str, list[End]]) -> list[list[str]]:
    """(asset, time) of the failures that an export of `wanted` looks at, as they were logged, used or not."""
    failed = {
        (asset, files.moment(cls, end.time))
        for asset, ends in log.items()
        for end in _before(wanted.until, ends)
        if end.kind == "failure"
    }
    return [list(each) for each in sorted(failed)]


def _before(until: int | None, ends: list[End]) -> list[End]:
    """A failure may be logged after the last row; one after `until` belongs to a later export."""
    return [end for end in ends if until is None or end.time < until]


def _one(
    connection: Connection,
    cls: AssetClass,
    asset: Asset,
    within: tuple[int, int],
    known: list[End],
    writer: files.Observations,
    found: _Found,
) -> None:
    machine = Machine(connection, cls, asset, *within)
    for page in machine.pages():
        machine.tally.last_rx = max(machine.tally.last_rx, int(page.t_rx.max()))
        writer.write(asset.name, page)
    if not machine.tally.rows:
        found.without.append(asset.name)
        found.refused.update(machine.tally.left_out)
        return
    found.tallies[asset.name] = machine.tally
    first = machine.tally.first or 0
    within_record = [end for end in known if end.time >= first]  # one before ends no life that is here
    found.refused["failures and repairs before the first row"] += len(known) - len(within_record)
    found.ends[asset.name] = ends_of(within_record, machine.new_lives)
    found.settings[asset.name], found.versions[asset.name] = _settings(connection, cls, asset, machine.tally, found)


def _settings(
    connection: Connection, cls: AssetClass, asset: Asset, tally: Tally, found: _Found
) -> tuple[dict[str, float], dict[str, int]]:
    """The version that held when the last row was received; which it is, and how many held during the export."""
    table = asset_settings.c
    query = select(table.version, table["values"], table.at).where(table.asset == asset.id).order_by(table.version)
    versions = connection.execute(query).all()
    held = [row for row in versions if row.at <= tally.last_rx] or list(versions[:1])
    if not held:
        return dict(found.nameplates.get(asset.name, {})), {"version": 0, "versions": 0}
    values = {}
    for name in cls.settings:
        if name not in (held[-1][1] or {}):
            continue
        low, high = cls.settings[name].range
        if low <= (value := float(held[-1][1][name])) <= high:
            values[name] = value
        else:
            found.refused[f"setting {name} out of its range"] += 1
    return values, {"version": held[-1].version, "versions": len(held)}


def _manifest(cls: AssetClass, wanted: Wanted, found: _Found, notes: list[str]) -> dict[str, Any]:
    """All that the export says of itself. No time of its own: the same database gives the same manifest."""
    tallies = found.tallies
    total: Counter[str] = Counter()
    for tally in tallies.values():
        total.update(tally.models)

    kept, fed = _sum(t.snapshots for t in tallies.values()), _sum(t.fed for t in tallies.values())

    def said(nanos: int | None) -> str | None:
        return None if nanos is None else files.moment(cls, nanos)

    return {
        "format": 1,
        "asset_class": cls.name,
        "fleet": wanted.fleet,
        "simulated": cls.simulated,
        "since": said(wanted.since),
        "until": said(wanted.until),
        "first": said(min(tally.first or 0 for tally in tallies.values())),
        "last": said(max(tally.last or 0 for tally in tallies.values())),
        "machines": len(tallies),
        "rows": sum(tally.rows for tally in tallies.values()),
        "ends": count(found.ends),
        "models": dict(sorted(total.items())),
        "left_out": _sum(tally.left_out for tally in tallies.values()) | _plain(found.refused),
        "changed": _sum(tally.changed for tally in tallies.values()),
        "unnumbered": sum(tally.unnumbered for tally in tallies.values()),
        "gaps": sum(tally.gaps for tally in tallies.values()),
        "snapshots": {"kept": kept, "fed": fed},
        "channels_not_of_the_class": sorted(set().union(*(tally.strange for tally in tallies.values()))),
        "machines_without_rows": found.without,
        "notes": [*notes, *_missing_snapshots(kept, fed), *_missing_settings(cls, found)],
        "per_machine": {name: _machine(tally, found, name, said) for name, tally in tallies.items()},
    }


def _strangers(cls: AssetClass, log: Mapping[str, list[End]], found: _Found) -> Iterator[str]:
    """Failures that are lost, by machine: most often its name is written otherwise here."""
    names = sorted(name for name in log if name not in found.tallies)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        told = ", ".join(names[:_SHOWN]) + more
        yield f"the failure log names {told}: no such machines of class '{cls.name}' have rows here"


def _missing_snapshots(kept: Mapping[str, int], fed: Mapping[str, int]) -> Iterator[str]:
    for channel, many in fed.items():
        if kept.get(channel, 0) < many:
            yield (
                f"{channel}: only {kept.get(channel, 0):,} of {many:,} snapshots were kept as measured; if these are "
                'those around anomalies, a model learns from that: let gateways send all (raw = "all"), or take the '
                "channel out of the class"
            )


def _missing_settings(cls: AssetClass, found: _Found) -> Iterator[str]:
    bare = [name for name, own in found.settings.items() if not own]
    if cls.settings and bare:
        yield (
            f"{len(bare)} machines have no settings here, such as {bare[0]}: they count as the class's defaults; if "
            "gateways know better, give their machines.csv by --settings, or set them at the centre"
        )


def _machine(tally: Tally, found: _Found, name: str, said: Any) -> dict[str, Any]:
    return {
        "first": said(tally.first),
        "last": said(tally.last),
        "rows": tally.rows,
        "models": dict(sorted(tally.models.items())),
        "left_out": _plain(tally.left_out),
        "unnumbered": tally.unnumbered,
        "gaps": tally.gaps,
        "ends": [[said(end.time), end.kind] for end in found.ends[name]],
        "settings": found.versions[name],
    }


def _sum(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return _plain(total)


def _plain(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in sorted(counts.items()) if value}


def _nothing(wanted: Wanted, machines: list[Asset], found: _Found) -> str:
    if not machines:
        return f"no machine of class '{wanted.asset_class}' is known here: check the name of the class"
    why = ", ".join(f"{value} {name}" for name, value in _plain(found.refused).items())
    return (
        f"none of the {len(machines)} machines of class '{wanted.asset_class}' has an observation to export"
        + (f" ({why})" if why else "")
        + ": widen --since and --until, or keep observations longer ([[retention.rule]])"
    )
