"""`python -m serving.database upgrade --config centre.toml` (or `--url …`): make or update the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.database.engine import Database, away
from serving.database.schema import check, current, head, upgrade
from serving.database.settings import DatabaseSettings
from serving.errors import ServingError
from serving.settings import read_config


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.database", description="The tables of the centre.")
    parser.add_argument("action", choices=("upgrade", "check", "version"))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, help="centre.toml")
    where.add_argument("--url", help="sqlite:///centre.db or postgresql://user@host/name")
    options = parser.parse_args(arguments)
    try:
        settings = DatabaseSettings(url=options.url) if options.url else read_config(options.config).database
        database = Database(settings)
        try:
            _run(options.action, database)
        finally:
            database.close()
    except (ServingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(action: str, database: Database) -> None:
    if action == "upgrade":
        upgrade(database)
    elif action == "check":
        check(database)
    with away(), database.read() as connection:
        print(f"tables: {current(connection) or 'none'}; this program: {head()}")


if __name__ == "__main__":
    sys.exit(main())
