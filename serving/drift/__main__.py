"""`python -m serving.drift --config centre.toml`: see `serving.drift`. Ends with 3 if some class has drifted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.database.engine import Database, away
from serving.drift.report import ClassReport, lines, metrics, report, to_json
from serving.errors import ServingError
from serving.models.catalogue import Catalogue
from serving.settings import CentreConfig, read_config

DRIFTED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.drift", description="Whether machines are still like those their model learned from."
    )
    parser.add_argument("--config", type=Path, required=True, help="centre.toml")
    parser.add_argument("--class", dest="asset_class", help="of this class alone")
    parser.add_argument("--json", action="store_true", help="the whole report, for programs")
    parser.add_argument("--metrics", type=Path, help="write it to this file for Prometheus, too")
    options = parser.parse_args(arguments)
    try:
        reports = look(read_config(options.config), options.asset_class)
        if options.metrics is not None:
            part = options.metrics.with_name(options.metrics.name + ".part")
            part.write_text(metrics(reports), encoding="utf-8")
            part.replace(options.metrics)
    except (ServingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(to_json(reports), ensure_ascii=False) if options.json else "\n".join(lines(reports)))
    return DRIFTED if any(each.verdict == "drifted" for each in reports) else 0


def look(config: CentreConfig, asset_class: str | None = None) -> list[ClassReport]:
    """The report by the bundles that the service of this centre serves. Bundles that cannot be used are told of."""
    catalogue = Catalogue.of(config.service.models)
    catalogue.refresh()
    for key, problem in catalogue.problems.items():
        print(f"{key}: {problem}", file=sys.stderr)
    database = Database(config.database)
    try:
        with away():
            return report(database, catalogue.shelf, asset_class)
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
