"""Numbers that are committed together with what they count."""

from __future__ import annotations

import sqlite3


class Ledger:
    """Name → integer, 0 where nothing was set. The writer sets; other threads `committed` may read at any time.

    What is set lies ready until `save` puts it into the running transaction, and `settle` or `discard` say how that
    ended.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._committed: dict[str, int] = dict(connection.execute("SELECT name, value FROM ledger"))
        self._staged: dict[str, int] = {}

    def committed(self, name: str) -> int:
        return self._committed.get(name, 0)

    def __getitem__(self, name: str) -> int:
        value = self._staged.get(name)
        return self._committed.get(name, 0) if value is None else value

    def __setitem__(self, name: str, value: int) -> None:
        self._staged[name] = value

    def save(self, connection: sqlite3.Connection) -> None:
        changed = [item for item in self._staged.items() if self._committed.get(item[0]) != item[1]]
        if changed:
            connection.executemany(
                "INSERT INTO ledger VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", changed
            )

    def settle(self) -> None:
        self._committed.update(self._staged)
        self._staged.clear()

    def discard(self) -> None:
        self._staged.clear()
