"""Snapshots of the twins that the centre owns, as gateways send them of theirs: the past is replayed from them."""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from edge_runtime.clock import Clock
from serving.database.engine import Database, away
from serving.database.tables import assets, states, twins
from serving.errors import ServingError

_OVERLAP = 600_000_000_000  # nanos: transactions that had begun by the last round may have ended after it
log = logging.getLogger(__name__)


class Keeper:
    """Every so many seconds, in a thread. Several workers may do so: what is there stays as it is."""

    def __init__(self, database: Database, clock: Clock, every: float) -> None:
        self._database, self._clock, self._every = database, clock, every
        self._since = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def keep(self) -> int:
        """Of all twins that went on since the last round; how many are new."""
        now = self._clock.utc()
        with away(), self._database.write() as connection:
            kept = keep(connection, self._since)
        self._since = now - _OVERLAP
        return kept

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.keep()
            except ServingError as error:
                log.warning("no snapshots of twins: %s", error)
            except Exception:
                log.exception("no snapshots of twins")


def keep(connection: Connection, since: int = 0) -> int:
    """Snapshots of the centre's twins that were continued at or after `since`, UTC nanos; how many are new."""
    columns = {
        "asset": twins.c.asset,
        "t": twins.c.t,
        "term": twins.c.term,
        "number": twins.c.number,
        "t_rx": twins.c.at,
        "model": twins.c.model,
        "asset_class": assets.c.asset_class,
        "body": twins.c.state,
    }
    own = select(*columns.values()).join(assets, assets.c.id == twins.c.asset).where(twins.c.at >= since)
    made = postgresql.insert(states) if connection.dialect.name == "postgresql" else sqlite.insert(states)
    statement = made.from_select(list(columns), own).on_conflict_do_nothing()
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
