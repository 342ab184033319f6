"""Many rows at once: those whose key is there are left out or replaced, and every value comes back."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from serving.database import bulk
from serving.database.tables import acks, command_answers, counts, events, waveform_parts

PATIENT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
WHOLE = st.integers(-(2**63), 2**63 - 1)


def put(database, table, rows, how=bulk.insert, **more):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    with database.write() as connection:
        return how(connection, table, columns, **more)


def everything(database, table, *names):
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(select(*(table.c[name] for name in names)))]


def test_keys_that_are_there_are_left_out(database):
    rows = [{"gateway": "", "name": f"n{i}", "value": i} for i in range(3)]
    assert put(database, counts, rows[:2]) == 2
    assert put(database, counts, [rows[0] | {"value": 9}, rows[2], rows[2] | {"value": 7}]) == 1
    assert sorted(everything(database, counts, "name", "value")) == [("n0", 0), ("n1", 1), ("n2", 2)]


def test_nothing(database):
    with database.write() as connection:
        assert bulk.insert(connection, counts, {}) == 0
        assert bulk.insert(connection, counts, {"gateway": [], "name": [], "value": []}) == 0


def test_replaced_where_newer(database):
    rows = [{"gateway": "", "name": f"n{i}", "value": 10} for i in range(2)]
    put(database, counts, rows)
    newer = [rows[0] | {"value": 11}, rows[1] | {"value": 9}]
    assert put(database, counts, newer, bulk.upsert, newer="excluded.value > counts.value") == 1
    assert sorted(everything(database, counts, "name", "value")) == [("n0", 11), ("n1", 10)]


def test_merged(database):
    row = {"gateway": "", "name": "n", "value": 10}
    for _ in range(3):
        put(
            database,
            counts,
            [row],
            bulk.merge,
            keys=("gateway", "name"),
            changed="value = counts.value + excluded.value",
        )
    assert everything(database, counts, "value") == [(30,)]


@given(
    st.lists(
        st.tuples(WHOLE, TEXT, st.none() | TEXT, st.dictionaries(TEXT, WHOLE, max_size=2), st.booleans()), min_size=1
    )
)
@PATIENT
def test_texts_json_and_whole_numbers_come_back(database, drawn):
    rows = [
        {"gateway": 1, "id": f"{i}", "state": "noted", "t": t, "code": "disk", "severity": "info", "detail": detail}
        | {"source": source, "counts": bulk.json_text(tally), "simulated": flag, "at": t}
        for i, (t, detail, source, tally, flag) in enumerate(drawn)
    ]
    with database.write() as connection:
        connection.execute(delete(events))
    assert put(database, events, rows) == len(rows)
    found = everything(database, events, "id", "t", "detail", "source", "counts", "simulated")
    assert sorted(found, key=lambda row: int(row[0])) == [
        (f"{i}", t, detail, source, tally, flag) for i, (t, detail, source, tally, flag) in enumerate(drawn)
    ]


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1))
@PATIENT
def test_numbers_come_back(database, values):
    row = {"gateway": 1, "status": "done", "t": 1, "asset": None, "channel": None, "reason": None, "at": 1}
    with database.write() as connection:
        connection.execute(delete(command_answers))
    put(database, command_answers, [row | {"id": f"{i}", "value": value} for i, value in enumerate(values)])
    found = dict(everything(database, command_answers, "id", "value"))
    assert [found[f"{i}"] for i in range(len(values))] == values


@given(st.lists(st.binary(max_size=30), min_size=1))
@PATIENT
def test_bytes_come_back(database, values):
    key = {"asset": 1, "term": 1, "number": 2**63 - 1, "channel": "c"}
    with database.write() as connection:
        connection.execute(delete(waveform_parts))
    put(database, waveform_parts, [key | {"part": i, "body": value} for i, value in enumerate(values)])
    assert [body for _, body in sorted(everything(database, waveform_parts, "part", "body"))] == values


def test_json_text():
    assert bulk.json_text({"a": [1, "ä"]}) == '{"a":[1,"ä"]}'
    with pytest.raises(ValueError, match="Out of range"):
        bulk.json_text(math.nan)


def test_json_by_bulk_reads_as_json(database):
    put(database, acks, [{"gateway": 1, "epoch": 1, "lane": 1, "upto": 3, "ranges": "[[5,6]]", "at": 1}])
    assert everything(database, acks, "ranges") == [([[5, 6]],)]
