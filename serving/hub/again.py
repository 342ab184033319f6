"""`python -m serving.hub.again --config centre.toml --reason unknown_asset`: take up dead letters once more.

After a machine was registered, a term corrected, or the program updated. What can be stored now is, and leaves the dead
letters; what is there already is left out as always; what is no better stays. Hubs may run meanwhile.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import func, select

from edge_runtime.clock import Clock, SystemClock
from serving.database.engine import Database, away
from serving.database.schema import check
from serving.database.tables import dead_letters
from serving.errors import ServingError
from serving.hub.reading import Letter, read
from serving.hub.store import Store
from serving.registry.settings import RegistrySettings
from serving.settings import read_config

_AT_ONCE = 50


def again(database: Database, registry: RegistrySettings, clock: Clock, most: int, reason: str | None = None) -> int:
    """Take up all dead letters, or those of `reason`, the oldest first; how many there are fewer.

    `most`: bytes of a letter that are kept, as in the hub's settings.
    """
    store = Store(database, registry, clock, most)
    wanted = [] if reason is None else [dead_letters.c.reason == reason]
    columns = (dead_letters.c.id, dead_letters.c.topic, dead_letters.c.content, dead_letters.c.payload)
    whole = func.length(dead_letters.c.payload) == dead_letters.c.size
    with database.read() as connection:
        before = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
        last = connection.execute(select(func.max(dead_letters.c.id))).scalar() or 0
    done = 0
    while True:
        query = select(*columns).where(dead_letters.c.id > done, dead_letters.c.id <= last, whole, *wanted)
        with database.read() as connection:
            found = connection.execute(query.order_by(dead_letters.c.id).limit(_AT_ONCE)).all()
        if not found:
            break
        done = found[-1].id
        letters = [Letter(topic.encode(), content, payload) for _, topic, content, payload in found]
        # A status tells how a gateway was then: it is taken from the letters, and changes nothing.
        store.commit([read(letter)._replace(key=None, status=None) for letter in letters], [row.id for row in found])
    with database.read() as connection:
        return int(before - connection.execute(select(func.count()).select_from(dead_letters)).scalar_one())


def reasons(database: Database) -> dict[str, int]:
    """Why letters are dead → how many."""
    query = select(dead_letters.c.reason, func.count()).group_by(dead_letters.c.reason)
    with database.read() as connection:
        return {reason: int(many) for reason, many in connection.execute(query).tuples()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.hub.again", description="Take up dead letters once more.")
    parser.add_argument("--config", type=Path, required=True, help="centre.toml")
    parser.add_argument("--reason", help="only letters that were refused for it, such as unknown_asset")
    options = parser.parse_args(arguments)
    try:
        config = read_config(options.config)
        database = Database(config.database)
        try:
            check(database)
            with away():
                before = reasons(database)
                gone = again(database, config.registry, SystemClock(), config.hub.dead_letter, options.reason)
        finally:
            database.close()
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    print(_told(before, options.reason, gone))
    return 0


def _told(before: Mapping[str, int], reason: str | None, gone: int) -> str:
    if reason is not None and reason not in before:
        there = ", ".join(f"{name} ({many})" for name, many in sorted(before.items())) or "none"
        return f"no dead letter was refused for '{reason}'; reasons of those there are: {there}"
    taken = sum(before.values()) if reason is None else before[reason]
    rest = (
        "the others stay: see reason and detail in the table dead_letters" if gone < taken else "none of them is left"
    )
    return f"{gone} of {taken} dead letters could be stored now" + (f"; {rest}" if taken else "")


if __name__ == "__main__":
    sys.exit(main())
