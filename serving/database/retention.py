"""What is kept for how long: rows are thinned, then forgotten, in small transactions beside everything else.

The age of a row is that of its reception (`t_rx`), for source time may be in cycles. Of each machine the oldest rows by
source time are forgotten up to the first one that is young enough: what came late stays until it is old itself.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Delete, Table, and_, bindparam, delete, func, select, text, tuple_

from edge_runtime.clock import Clock
from serving.database import bulk
from serving.database.engine import Database, is_away
from serving.database.queries import END
from serving.database.settings import RetentionSettings, Rule
from serving.database.tables import (
    acks,
    assets,
    dead_letters,
    events,
    messages,
    observations,
    prognoses,
    states,
    summaries,
    thinned,
    waveform_features,
    waveform_parts,
    waveforms,
)

log = logging.getLogger(__name__)

DAY = 86_400_000_000_000  # nanos
SECOND = 1_000_000_000
_TABLES = {"observation": observations, "prognosis": prognoses, "summary": summaries, "state": states}
_MACHINES = 200  # looked at in one query
_ROWS = 2_000  # removed in one transaction, about: others wait for it
_SPANS = 4  # thinned in one transaction, each of up to _ROWS
_INCOMPLETE = DAY  # for which parts of a waveform wait for the others
_LOCK = 0x6F766573  # of PostgreSQL: one process at a time


class _Asset(NamedTuple):
    id: int
    asset_class: str


class Retention:
    """Runs rounds in a thread of its own, or one when asked to."""

    def __init__(self, database: Database, settings: RetentionSettings, clock: Clock) -> None:
        self.removed: Counter[str] = Counter()  # rows by kind, since the start
        self._database, self._settings, self._clock = database, settings, clock
        self._rules = settings.rules()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention")

    def start(self) -> None:
        if self._settings.enabled:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_once(self) -> Counter[str]:
        """One round: how many rows of each kind it has removed."""
        before = self.removed.copy()
        now = self._clock.utc()
        with self._database.read() as connection:
            query = select(assets.c.id, assets.c.asset_class).order_by(assets.c.id)
            machines = [_Asset(*row) for row in connection.execute(query)]
        for rule in self._rules:
            if self._stop.is_set():
                break
            if rule.kind in _TABLES:
                self._history(rule, self._concerned(rule, machines), now)
            elif rule.kind == "waveform":
                self._waveforms(rule, self._concerned(rule, machines), now)
            else:
                self._others(rule, now)
        return self.removed - before

    def _run(self) -> None:
        while not self._stop.wait(self._settings.every):
            try:
                self.run_once()
            except Exception as error:
                if is_away(error):
                    log.warning("nothing is forgotten now: the database is away: %s", getattr(error, "orig", error))
                else:
                    log.exception("a round of the retention failed")

    def _concerned(self, rule: Rule, machines: Sequence[_Asset]) -> list[int]:
        if rule.class_ is not None:
            return [machine.id for machine in machines if machine.asset_class == rule.class_]
        others = {other.class_ for other in self._rules if other.kind == rule.kind and other.class_ is not None}
        return [machine.id for machine in machines if machine.asset_class not in others]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection | None]:
        """One to remove rows in; None if another process is at it."""
        with self._database.write() as connection:
            mine = True
            if not self._database.sqlite:
                lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
                mine = connection.execute(lock, {"lock": _LOCK}).scalar_one()
            yield connection if mine else None

    def _pause(self) -> bool:
        """Let others have their turn; True when it is time to stop."""
        return self._stop.wait(0.002)

    # Rows of machines.

    def _history(self, rule: Rule, machines: Sequence[int], now: int) -> None:
        table = _TABLES[rule.kind]
        forget_before = now - int((rule.thin_days or rule.days) * DAY)
        for some in _chunks(machines, _MACHINES):
            while self._forget(rule.kind, table, some, forget_before):
                if self._pause():
                    return
            if rule.thin is not None:
                step = int(rule.thin * SECOND)
                if not self._thin(rule.kind, table, some, now - int(rule.days * DAY), step):
                    return

    def _forget(self, kind: str, table: Table, machines: Sequence[int], before: int) -> bool:
        """Remove some of the oldest rows of `machines` that were received before; whether there may be more."""
        mine = table.alias()
        piece = max(1, _ROWS // len(machines))
        rows = select(mine.c.t, mine.c.t_rx).where(mine.c.asset == assets.c.id).order_by(mine.c.t)
        some = rows.limit(piece).correlate(assets).subquery()  # no more are looked at, however many are old
        first, kept = select(func.min(some.c.t)), select(func.min(some.c.t)).where(some.c.t_rx >= before)
        enough = rows.with_only_columns(mine.c.t).offset(piece).limit(1)
        columns = (assets.c.id, first.scalar_subquery(), kept.scalar_subquery(), enough.scalar_subquery())
        query = select(*columns).where(assets.c.id.in_(machines))
        with self._database.read() as connection:
            found = connection.execute(query).all()
        ends = []
        for asset, oldest, young, many in found:
            end = min((t for t in (young, many) if t is not None), default=END)
            if oldest is not None and oldest < end:
                ends.append({"machine": asset, "end": end})
        if not ends:
            return False
        # By age once more: others have stored rows since these were looked at.
        gone = [(kind, _up_to(table).where(table.c.t_rx < before))]
        if kind == "observation":
            gone.insert(0, ("features", _up_to(waveform_features).where(~_seen_since(before))))
        with self._transaction() as connection:
            if connection is None:
                return False
            for name, statement in gone:
                self.removed[name] += sum(connection.execute(statement, end).rowcount for end in ends)
        return True

    def _thin(self, kind: str, table: Table, machines: Sequence[int], before: int, step: int) -> bool:
        """Thin rows of `machines` that were received before, span by span; False when it is time to stop."""
        waiting = list(machines)
        while waiting:
            spans = []
            with self._database.read() as connection:
                for asset in waiting[:_SPANS]:
                    span = _span(connection, table, kind, asset, before, step)
                    if span is not None:
                        spans.append((asset, *span))
            waiting = [span[0] for span in spans] + waiting[_SPANS:]
            if not spans:
                continue
            with self._transaction() as connection:
                if connection is None:
                    return False
                for asset, start, end in spans:
                    self.removed[f"{kind}_thinned"] += _delete_between(connection, table, asset, start, end, step)
                _mark(connection, kind, {asset: end for asset, _, end in spans})
            if self._pause():
                return False
        return True

    # The rest.

    def _waveforms(self, rule: Rule, machines: Sequence[int], now: int) -> None:
        key = [waveforms.c[name] for name in ("asset", "term", "number", "channel")]
        old = waveforms.c.at < now - int(rule.days * DAY)
        incomplete = and_(waveforms.c.body.is_(None), waveforms.c.at < now - _INCOMPLETE)
        for some in _chunks(machines, _MACHINES):
            for condition in (old, incomplete):
                query = select(*key).where(waveforms.c.asset.in_(some), condition).limit(_ROWS)
                while True:
                    with self._database.read() as connection:
                        found = [tuple(row) for row in connection.execute(query)]
                    if not found or self._pause() or not self._remove_waveforms(found, condition):
                        break

    def _remove_waveforms(self, keys: Sequence[tuple[object, ...]], condition: ColumnElement[bool]) -> bool:
        """Those of `keys` for which it holds still: the last part may have come meanwhile."""
        with self._transaction() as connection:
            if connection is None:
                return False
            for table in (waveforms, waveform_parts):
                place = tuple_(*(table.c[name] for name in ("asset", "term", "number", "channel")))
                still = [condition] if table is waveforms else []  # a complete one has no parts
                gone = connection.execute(delete(table).where(place.in_(keys), *still)).rowcount
                self.removed["waveform" if table is waveforms else "part"] += gone
        return True

    def _others(self, rule: Rule, now: int) -> None:
        before = now - int(rule.days * DAY)
        if rule.kind == "event":
            self._by_age("event", events, events.c.at < before)
        elif rule.kind == "message":
            self._by_age("message", messages, messages.c.at < before)
            self._by_age("ack", acks, acks.c.at < before)
        else:
            self._by_age("dead_letter", dead_letters, dead_letters.c.last_at < before)
            self._too_many_dead_letters()

    def _by_age(self, kind: str, table: Table, old: ColumnElement[bool]) -> None:
        key = list(table.primary_key)
        chosen = select(*key).where(old).limit(_ROWS)
        while True:
            with self._transaction() as connection:
                if connection is None:
                    return
                gone = connection.execute(delete(table).where(tuple_(*key).in_(chosen))).rowcount
            self.removed[kind] += gone
            if gone < _ROWS or self._pause():
                return

    def _too_many_dead_letters(self) -> None:
        """Over their limit, the oldest go first."""
        size = func.length(dead_letters.c.payload)
        most = self._settings.dead_letters << 20
        with self._database.read() as connection:
            held = connection.execute(select(func.coalesce(func.sum(size), 0))).scalar_one()
            oldest = select(dead_letters.c.id, size).order_by(dead_letters.c.last_at, dead_letters.c.id)
            gone = []
            if held > most:
                for key, length in connection.execute(oldest):
                    gone.append(key)
                    held -= length
                    if held <= most:
                        break
        for some in _chunks(gone, _ROWS):
            with self._transaction() as connection:
                if connection is None:
                    return
                removed = connection.execute(delete(dead_letters).where(dead_letters.c.id.in_(some))).rowcount
            self.removed["dead_letter"] += removed


def _span(
    connection: Connection, table: Table, kind: str, asset: int, before: int, step: int
) -> tuple[int, int] | None:
    """From where to where rows of a machine are thinned next, whole steps of source time; None: nothing to do now."""
    mark = select(thinned.c.t).where(thinned.c.asset == asset, thinned.c.kind == kind)
    done = connection.execute(mark).scalar()
    own = [table.c.asset == asset] if done is None else [table.c.asset == asset, table.c.t >= done]
    times = select(table.c.t).where(*own).order_by(table.c.t)
    start = connection.execute(times.limit(1)).scalar()
    if start is None:
        return None
    start -= start % step
    end = connection.execute(times.where(table.c.t_rx >= before).limit(1)).scalar()
    if end is None:
        end = connection.execute(select(func.max(table.c.t)).where(*own)).scalar_one()
    many = connection.execute(times.offset(_ROWS).limit(1)).scalar()
    if many is not None:
        end = min(end, max(many, start + step))
    end -= end % step
    return (start, end) if end > start else None


def _up_to(table: Table) -> Delete:
    """Rows of a `machine` before `end`."""
    return delete(table).where(table.c.asset == bindparam("machine"), table.c.t < bindparam("end"))


def _seen_since(before: int) -> ColumnElement[bool]:
    """Whether features are of an observation that was received at or after `before`."""
    mine, seen = waveform_features.c, observations.c
    same = (seen[name] == mine[name] for name in ("asset", "term", "number"))
    return select(seen.number).where(*same, seen.t_rx >= before).exists()


def _mark(connection: Connection, kind: str, ends: Mapping[int, int]) -> None:
    columns: dict[str, list[object]] = {"asset": list(ends), "kind": [kind] * len(ends), "t": list(ends.values())}
    bulk.upsert(connection, thinned, columns, "excluded.t > thinned.t")


def _delete_between(connection: Connection, table: Table, asset: int, start: int, end: int, step: int) -> int:
    """Leave one row in each step: the highest alarm, then the newest."""
    mine = table.c
    within = [mine.asset == asset, mine.t >= start, mine.t < end]
    order = [mine.t.desc(), mine.term.desc(), mine.number.desc()]
    if "alarm" in mine:
        order.insert(0, func.coalesce(mine.alarm, 0).desc())
    place = func.row_number().over(partition_by=mine.t - mine.t % step, order_by=order)
    ranked = select(mine.t, mine.term, mine.number, place.label("place")).where(*within).subquery()
    gone = select(ranked.c.t, ranked.c.term, ranked.c.number).where(ranked.c.place > 1)
    return connection.execute(delete(table).where(*within, tuple_(mine.t, mine.term, mine.number).in_(gone))).rowcount


def _chunks(items: Sequence[int], size: int) -> Iterator[list[int]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
