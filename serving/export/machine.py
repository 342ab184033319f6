"""The observations of one machine as a table reader wants them, a page at a time; what cannot be taken is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, func, select

from data.asset_class import AssetClass
from edge_runtime.arrays import F32, F64, I64, Bool
from edge_runtime.contract.event import Event
from serving.database import queries
from serving.database.queries import Asset, Observed
from serving.database.tables import observations, thinned, waveform_features, waveforms

PAGE_BYTES = 32 << 20  # about, of one page in memory
PAGE_ROWS = 16_384
_HAPPEN = (Event.SENSOR_REPLACED, Event.NEW_LIFE)  # the last counts, where there are several


@dataclass(frozen=True, eq=False)
class Page:
    """Rows ascending in time, no time twice: `time` int64[T] nanos, `readings` f32[T,C] in the class's order, `event`
    int8[T], `age` f64[T], snapshots by channel: (row int64[K], f32[K,samples])."""

    time: I64
    t_rx: I64
    readings: F32
    event: np.ndarray
    age: F64
    waveforms: Mapping[str, tuple[I64, F32]]


@dataclass
class Tally:
    """What is in the export of one machine, and what is not."""

    rows: int = 0
    first: int | None = None  # nanos
    last: int | None = None
    last_rx: int = 0
    models: Counter[str] = field(default_factory=Counter)  # rows by model_id
    left_out: Counter[str] = field(default_factory=Counter)  # rows by reason
    changed: Counter[str] = field(default_factory=Counter)  # values by what became of them
    gaps: int = 0  # silences longer than max_gap
    snapshots: Counter[str] = field(default_factory=Counter)  # by channel, kept as measured
    fed: Counter[str] = field(default_factory=Counter)  # by channel, that the twin was given
    numbers: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # term → lowest, highest, how many
    strange: set[str] = field(default_factory=set)  # channels in the database that the class does not have

    @property
    def unnumbered(self) -> int:
        """Observations that were made, as the numbering within each term tells, and that are not here."""
        return sum(highest - lowest + 1 - many for lowest, highest, many in self.numbers.values())


class Machine:
    """Reads one machine. `new_lives`: (time before, time of) each observation that begins a life; grows with pages."""

    def __init__(self, connection: Connection, cls: AssetClass, asset: Asset, start: int, end: int) -> None:
        self.tally = Tally()
        self.new_lives: list[tuple[int, int]] = []
        self._connection, self._cls, self._asset = connection, cls, asset
        self._start, self._end = start, end
        self._max_gap = int(cls.time.max_gap * 1e9)
        self._left: set[Event] = set()  # what happened in rows that were left out, and no row has come since

    def pages(self) -> Iterator[Page]:
        """All of [start, end) but what was thinned: a life with holes in it is no record of what its twin was fed."""
        start = self._start
        mark = select(thinned.c.t).where(thinned.c.asset == self._asset.id, thinned.c.kind == "observation")
        done = self._connection.execute(mark).scalar()
        if done is not None and done > start:
            own = observations.c.asset == self._asset.id, observations.c.t >= start, observations.c.t < done
            self.tally.left_out["thinned"] += self._connection.execute(
                select(func.count()).select_from(observations).where(*own)
            ).scalar_one()
            start = done
        for begin, end in self._stretches(start):
            spans = list(queries.read_observations(self._connection, self._asset.id, begin, end))
            if spans and (page := self._page(spans)) is not None:
                yield page
        if self.tally.rows:
            self._count_fed()

    def _stretches(self, start: int) -> Iterator[tuple[int, int]]:
        """Times between which there are about as many rows as a page has; rows of equal time are never parted."""
        mine = observations.c
        rows = page_rows(self._cls)
        while True:
            query = select(mine.t).where(mine.asset == self._asset.id, mine.t >= start, mine.t < self._end)
            following = self._connection.execute(query.order_by(mine.t).offset(rows).limit(1)).scalar()
            stop = self._end if following is None else max(following, start + 1)
            yield start, stop
            if following is None:
                return
            start = stop

    def _page(self, spans: list[Observed]) -> Page | None:
        time = np.concatenate([span.keys.t for span in spans])
        term = np.concatenate([span.keys.term for span in spans])
        number = np.concatenate([span.keys.number for span in spans])
        self._count_numbers(term, number)
        event, age = self._events(spans), self._ages(spans)
        kept = self._kept(time, age)
        if not kept.any():
            self._left |= {kind for kind in _HAPPEN if (event == kind).any()}
            return None
        for span, part in zip(spans, np.split(kept, np.cumsum([len(span.keys) for span in spans])[:-1]), strict=True):
            self.tally.models[span.model_id] += int(part.sum())
        event = self._carried(event, kept)
        time, term, number, age = time[kept], term[kept], number[kept], age[kept]
        self._count(time, event)
        return Page(
            time,
            np.concatenate([span.keys.t_rx for span in spans])[kept],
            np.concatenate([self._readings(span) for span in spans])[kept],
            event,
            age,
            self._waveforms(time, term, number),
        )

    def _kept(self, time: I64, age: F64) -> Bool:
        """Of rows of one time the last: the highest (term, number)."""
        kept: Bool = np.append(np.diff(time) != 0, True)
        self.tally.left_out["repeated time"] += int((~kept).sum())
        if self._cls.time.unit == "cycle":
            # Readers take counted times to the microsecond, as float64.
            exact = np.rint(time / 1e9 * 1e6).astype(np.int64) * 1000 == time
            self.tally.left_out["time finer than a millionth of a cycle"] += int((kept & ~exact).sum())
            kept &= exact
        if self._cls.life.age == "required":
            unknown = np.isnan(age)
            self.tally.left_out["unknown age"] += int((kept & unknown).sum())
            kept &= ~unknown
        return kept

    def _carried(self, event: np.ndarray, kept: Bool) -> np.ndarray:
        """Events of the rows kept; what happened in a row left out moves to the next one."""
        carried = event[kept]
        for kind in _HAPPEN:
            many = np.cumsum(event == kind)
            happened = np.diff(many[kept], prepend=-1 if kind in self._left else 0) > 0
            carried = np.where(happened, kind, carried)
            self._left.discard(kind)
            if many[-1] > many[kept][-1]:
                self._left.add(kind)
        return carried.astype(np.int8)

    def _readings(self, span: Observed) -> F32:
        scalars = self._cls.scalars
        self.tally.strange |= set(span.channels) - set(scalars)
        place = {name: column for column, name in enumerate(span.channels)}
        readings = np.full((len(span.keys), len(scalars)), np.nan, np.float32)
        for column, name in enumerate(scalars):
            if name in place:
                readings[:, column] = span.readings[:, place[name]]
        return readings

    def _events(self, spans: list[Observed]) -> np.ndarray:
        """What the graph makes of them: any other number is no event."""
        given = np.concatenate([span.event for span in spans])
        usable = np.isin(given, [kind.value for kind in Event])
        self.tally.changed["event that is none"] += int((~usable).sum())
        return np.where(usable, given, Event.NONE).astype(np.int8)

    def _ages(self, spans: list[Observed]) -> F64:
        given = np.concatenate([span.age for span in spans]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            unusable = (given < 0) | np.isinf(given)  # as the graph sees it
        self.tally.changed["age that is none"] += int(unusable.sum())
        given[unusable] = np.nan
        return given

    def _count(self, time: I64, event: np.ndarray) -> None:
        tally = self.tally
        before = time if tally.last is None else np.append(tally.last, time)
        tally.gaps += int((np.diff(before) > self._max_gap).sum())
        for at in np.flatnonzero(event == Event.NEW_LIFE).tolist():
            previous = int(time[at - 1]) if at else tally.last
            if previous is not None:
                self.new_lives.append((previous, int(time[at])))
        tally.first = int(time[0]) if tally.first is None else tally.first
        tally.last = int(time[-1])
        tally.rows += len(time)

    def _count_numbers(self, term: I64, number: I64) -> None:
        known = self.tally.numbers
        for each in np.unique(term).tolist():
            own = number[term == each]
            lowest, highest, many = known.get(each, (int(own[0]), int(own[0]), 0))
            known[each] = min(lowest, int(own.min())), max(highest, int(own.max())), many + len(own)

    def _count_fed(self) -> None:
        table = waveform_features.c
        query = select(table.channel, func.count()).where(
            table.asset == self._asset.id, table.t >= self.tally.first, table.t <= self.tally.last
        )
        for channel, many in self._connection.execute(query.group_by(table.channel)):
            self.tally.fed[channel] = many

    def _waveforms(self, time: I64, term: I64, number: I64) -> dict[str, tuple[I64, F32]]:
        """Snapshots that were kept as measured, of the rows of a page."""
        found = {}
        place = {key: row for row, key in enumerate(zip(term.tolist(), number.tolist(), strict=True))}
        table = waveforms.c
        for channel in self._cls.waveforms:
            waveform = self._cls.channels[channel].waveform
            assert waveform is not None
            size = (len(waveform.axes), waveform.samples)
            query = select(table.term, table.number).where(
                table.asset == self._asset.id,
                table.channel == channel,
                table.body.is_not(None),
                table.t >= int(time[0]),
                table.t <= int(time[-1]),
            )
            rows: dict[int, F32] = {}
            for key in self._connection.execute(query).all():
                if (row := place.get((key.term, key.number))) is None:
                    continue
                samples = queries.read_waveform(self._connection, self._asset.id, channel, key.term, key.number)
                if samples is None or samples.shape != size:
                    self.tally.changed[f"{channel}: snapshot of another size"] += 1
                else:
                    rows[row] = samples.reshape(-1)
            if rows:
                order = sorted(rows)
                found[channel] = np.array(order, np.int64), np.stack([rows[row] for row in order])
                self.tally.snapshots[channel] += len(order)
        return found


def page_rows(cls: AssetClass) -> int:
    """How many rows a page has, at most `PAGE_BYTES` even if each has its snapshots. Decides the bytes of the file."""
    samples = 0
    for name in cls.waveforms:
        waveform = cls.channels[name].waveform
        assert waveform is not None
        samples += len(waveform.axes) * waveform.samples
    return max(64, min(PAGE_ROWS, PAGE_BYTES // (4 * (samples + len(cls.scalars) + 16))))
