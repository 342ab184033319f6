"""`python -m serving.export pump --config centre.toml --fleet pump-plant`: see `serving.export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.asset_class import AssetClass
from data.class_file import load_class
from data.errors import DataError
from data.readers.cells import times
from serving.database.engine import Database, away
from serving.errors import ConfigError, ServingError
from serving.export.fleet import Wanted, export
from serving.settings import read_config


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.export", description="What the machines of a class lived through, as a data set."
    )
    add_arguments(parser)
    parser.add_argument("--config", type=Path, required=True, help="centre.toml")
    options = parser.parse_args(arguments)
    try:
        database = Database(read_config(options.config).database)
        try:
            with away():
                manifest = export(database, wanted_by(options))
        finally:
            database.close()
    except (ServingError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines(manifest)))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("asset_class", metavar="class", help="such as pump")
    parser.add_argument("--fleet", help="what to call it: <class>-<name>; default <class>-lived")
    parser.add_argument("--since", help="first time, included: 2026-01-31T00:00:00Z, or a count of cycles")
    parser.add_argument("--until", help="last time, excluded")
    parser.add_argument("--failures", type=Path, help="CSV of asset, time, kind (failure or repair)")
    parser.add_argument("--skip-unusable", action="store_true", help="leave out rows of that log that cannot be used")
    parser.add_argument("--settings", type=Path, help="CSV of asset and settings, of machines that have none here")


def wanted_by(options: argparse.Namespace) -> Wanted:
    cls = load_class(options.asset_class)
    return Wanted(
        options.asset_class,
        options.fleet or f"{options.asset_class}-lived",
        _time(cls, "--since", options.since),
        _time(cls, "--until", options.until),
        options.failures,
        options.settings,
        skip_unusable=options.skip_unusable,
    )


def _time(cls: AssetClass, option: str, text: str | None) -> int | None:
    if text is None:
        return None
    cells = times(pa.array([text]), cls.time.unit, "UTC")
    if not cells.known[0]:
        expected = "a count of cycles" if cls.time.unit == "cycle" else "a time such as 2026-01-31T00:00:00Z"
        raise ConfigError(f"{option} '{text}': write {expected}")
    return int(cells.values[0])


def lines(manifest: dict[str, Any]) -> list[str]:
    """The manifest for a terminal."""
    ends = manifest["ends"]
    found = [
        f"{manifest['fleet']}: {manifest['machines']} machines, {manifest['rows']:,} observations from "
        f"{manifest['first']} to {manifest['last']}, {ends['failure']} failures, {ends['repair']} repairs"
    ]
    for title, key in (("left out", "left_out"), ("changed", "changed")):
        found += [f"{title}: {count:,} {name}" for name, count in manifest[key].items()]
    if manifest["unnumbered"]:
        found.append(f"not here: {manifest['unnumbered']:,} observations that were numbered")
    if manifest["gaps"]:
        found.append(f"silences longer than max_gap: {manifest['gaps']:,}")
    return [*found, *manifest["notes"]]


if __name__ == "__main__":
    sys.exit(main())
