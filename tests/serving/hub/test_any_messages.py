"""Whatever gateways send, in whichever groups and how often: each row is there once, bit by bit, all acknowledged."""

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from edge_runtime.clock import SystemClock
from edge_runtime.contract import bodies, tables
from edge_runtime.contract.acks import LaneAck
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.contract.rows import Observations, Prognoses, States, Summaries
from serving.database import queries
from serving.database.tables import alarm_changes, dead_letters, metadata, registry_version, states, waveform_features
from serving.hub.store import Store
from serving.registry.settings import RegistrySettings
from tests.edge_runtime.contract import messages as drawn
from tests.serving.hub import made

GIVEN = ("health", "rul", "contribution", "quality", "novel")  # what `drawn.outputs` draws from
SUMMARY = ("start", "end", "count", "received", "minimum", "mean", "maximum", "alarm", "flags")
PATIENT = settings(
    max_examples=min(60, settings.default.max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def outgoings(draw):
    """Of one class and term: what becomes of others has tests of its own."""
    lane = draw(st.sampled_from(Lane))
    if draw(st.booleans()):
        rows = draw(drawn.rows())
        rows = replace(rows, asset_class="pump", keys=replace(rows.keys, term=np.zeros_like(rows.keys.term)))
        return rows, tables.outgoing(rows, lane, draw(drawn.whole), draw(st.none() | drawn.ids))
    kind, body = draw(drawn.json_bodies)
    if kind == "alarm":
        body = replace(body, term=0)
    return body, Outgoing(kind, lane, None, draw(drawn.whole), draw(drawn.whole), bodies.pack(body))


@given(st.lists(outgoings(), min_size=1, max_size=12), st.data())
@PATIENT
def test_any_messages(database, sent, data):
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            if table is not registry_version:
                connection.execute(delete(table))
    sender = made.Sender()
    reads = [read for _, outgoing in sent for read in sender.read(outgoing)]
    contents = dict(zip(map(id, reads), (made_of for made_of, _ in sent), strict=True))
    for read in reads:
        assert read.dead is None
    stores = [Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20) for _ in range(2)]
    order = data.draw(st.permutations(reads + data.draw(st.lists(st.sampled_from(reads), max_size=4))))
    told, first = {}, {}
    while order:
        size = data.draw(st.integers(1, len(order)))
        group, order = order[:size], order[size:]
        for each in data.draw(st.sampled_from(stores)).commit(group):
            told |= each.ack.lanes
        for read in group:
            for key, row in rows_of(contents[id(read)]):
                first.setdefault(key, row)
    lanes = {read.key.lane: max(r.key.seq for r in reads if r.key.lane == read.key.lane) for read in reads}
    assert told == {Lane(lane): LaneAck(seq) for lane, seq in lanes.items()}
    with database.read() as connection:
        twice = any(len(times) > 1 for times in times_of(contents.values()).values())
        reasons = set(connection.execute(select(dead_letters.c.reason)).scalars())
        assert reasons == ({"number_reused"} if twice else set())
        stored = {key: row for asset in queries.list_assets(connection) for key, row in read_all(connection, asset)}
        assert stored.keys() == first.keys()
        for key, row in first.items():
            assert stored[key].keys() >= row.keys(), key
            for name, value in row.items():
                assert np.array_equal(stored[key][name], value, equal_nan=True), (key, name)
            more = stored[key].keys() - row.keys()
            assert all(name.startswith("output.") and np.isnan(stored[key][name]).all() for name in more)
        alarms = {(body.asset, body.number) for body, _ in sent if isinstance(body, bodies.Alarm)}
        changes = connection.execute(select(func.count()).select_from(alarm_changes)).scalar_one()
        assert changes == len(alarms)


def times_of(bodies_):
    """Of observations and prognoses: (kind, machine, number) → the times that were sent under it."""
    times = {}
    for body in bodies_:
        for (kind, *rest), row in rows_of(body):
            if kind in ("observation", "prognosis"):
                times.setdefault((kind, *rest), set()).add(int(row["t"]))
    return times


def rows_of(body):
    """((kind, machine, number), values by name) of each row."""
    if not isinstance(body, Observations | Prognoses | Summaries | States):
        return
    keys = body.keys
    for row in range(len(keys)):
        values = {"t": keys.t[row]}
        if isinstance(body, Observations):
            values |= {name: getattr(body, name)[row] for name in ("t_rx", "readings", "event", "age")}
            for channel, snapshots in body.waveforms.items():
                for place in np.flatnonzero(snapshots.row == row):
                    found = {"features": snapshots.features[place], "t": keys.t[row]}
                    yield ("waveform", keys.name(row), int(keys.number[row]), channel), found
        elif isinstance(body, States):
            values["state"] = body.state[row]
        else:
            values |= {f"output.{name}": value[row] for name, value in body.outputs.items()}
        if isinstance(body, Summaries):
            values |= {name: getattr(body, name)[row] for name in SUMMARY}
        yield (body.kind, keys.name(row), int(keys.number[row])), values


def read_all(connection, asset):
    """The same of what is stored."""
    query = select(waveform_features).where(waveform_features.c.asset == asset.id)
    for row in connection.execute(query).mappings():
        values = {"t": row["t"], "features": np.frombuffer(row["body"], "<f4")}
        yield ("waveform", asset.name, row["number"], row["channel"]), values
    for span in queries.read_observations(connection, asset.id):
        names = ("readings", "event", "age")
        for row, number, values in each(span, {name: getattr(span, name) for name in names}):
            yield ("observation", asset.name, number), values | {"t_rx": span.keys.t_rx[row]}
    for span in queries.read_prognoses(connection, asset.id):
        # What was not given reads as NaN.
        outputs = {f"output.{name}": value for name, value in span.outputs.items() if name in GIVEN}
        for _, number, values in each(span, outputs):
            yield ("prognosis", asset.name, number), values
    for span in queries.read_summaries(connection, asset.id):
        found = {name: getattr(span, name) for name in SUMMARY} | {f"output.{n}": v for n, v in span.outputs.items()}
        for _, number, values in each(span, found):
            yield ("summary", asset.name, number), values
    for row in connection.execute(select(states).where(states.c.asset == asset.id)).mappings():
        values = {"t": row["t"], "state": np.frombuffer(row["body"], "<f4")}
        yield ("state", asset.name, row["number"]), values


def each(span, columns):
    for row, number in enumerate(span.keys.number.tolist()):
        yield row, number, {"t": span.keys.t[row]} | {name: value[row] for name, value in columns.items()}
