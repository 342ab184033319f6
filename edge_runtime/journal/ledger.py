"""Numbers that are committed together with what they count."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping


class Ledger:
    """Name → integer, 0 where nothing was set. Set by the writer; others may ask for `written` and `durable` any time.

    What is set lies ready until `save` puts it into the running transaction, and `settle` or `discard` say how that
    ended. It is `durable` when whoever syncs says so, with what `settle` returned.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._written: dict[str, int] = dict(connection.execute("SELECT name, value FROM ledger"))
        if not all(isinstance(value, int) for value in self._written.values()):
            raise sqlite3.DatabaseError("the ledger holds what is no number")
        self._durable = dict(self._written)
        self._staged: dict[str, int] = {}

    def written(self, name: str) -> int:
        return self._written.get(name, 0)

    def durable(self, name: str) -> int:
        return self._durable.get(name, 0)

    def __getitem__(self, name: str) -> int:
        value = self._staged.get(name)
        return self._written.get(name, 0) if value is None else value

    def __setitem__(self, name: str, value: int) -> None:
        self._staged[name] = value

    def save(self, connection: sqlite3.Connection) -> None:
        changed = [item for item in self._staged.items() if self._written.get(item[0]) != item[1]]
        if changed:
            connection.executemany(
                "INSERT INTO ledger VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", changed
            )

    def settle(self) -> Mapping[str, int]:
        """The transaction is committed; what it changed."""
        changed, self._staged = self._staged, {}
        self._written.update(changed)
        return changed

    def survive(self, changed: Mapping[str, int]) -> None:
        """The transaction that changed these survives a power cut, and so do all before it."""
        self._durable.update(changed)

    def moved(self, name: str) -> bool:
        """Whether the running transaction changed it."""
        return self[name] != self.written(name)

    def discard(self) -> None:
        self._staged = {}
