import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import packing
from edge_runtime.contract.block import read_table, write_table
from edge_runtime.contract.limits import Limits
from edge_runtime.contract.message import BLOCK, Lane
from edge_runtime.contract.packing import SHUFFLED
from edge_runtime.contract.rows import Keys, Observations, Prognoses, Snapshots, States
from edge_runtime.contract.tables import outgoing, pack, unpack
from edge_runtime.errors import WireError
from tests.edge_runtime.contract.messages import FUZZ, PATIENT, floats, is_read_or_refused, rows, same

SIX = np.arange(6, dtype=np.int64)


def observations(**changes):
    key = Keys.of(["p1", "p2", "p3"], np.array([2, 0, 2]), SIX[:3], SIX[:3], SIX[:3])
    values = {
        "asset_class": "pump",
        "keys": key,
        "channels": ("flow", "speed"),
        "t_rx": SIX[:3],
        "readings": np.arange(6, dtype=np.float32).reshape(3, 2),
        "event": np.zeros(3, np.float32),
        "age": np.full(3, np.nan, np.float32),
    }
    return Observations(**values | changes)


@PATIENT
@given(rows())
def test_rows_come_back_bit_by_bit(block):
    body, size = pack(block)
    assert same(unpack(block.kind, body, size), block)


def test_only_machines_with_rows_are_named():
    block = observations()
    assert block.keys.assets == ("p1", "p3")
    assert [block.keys.name(row) for row in range(3)] == ["p3", "p1", "p3"]
    assert len(block.keys) == 3


def test_a_block_as_a_message():
    message = outgoing(observations(), Lane.BACKFILL, 77, "m1", clock_synced=False)
    assert (message.kind, message.lane, message.asset) == ("observation", Lane.BACKFILL, None)
    assert (message.t, message.t_rx, message.model_id, message.clock_synced) == (2, 77, "m1", False)
    assert message.content == BLOCK
    assert same(unpack("observation", message.body, message.size), observations())


def test_an_empty_block():
    none = np.zeros(0, np.int64)
    block = States("pump", Keys.of([], none, none, none, none), np.zeros((0, 4), np.float32))
    assert outgoing(block, Lane.LIVE, 1).t == 0
    assert same(unpack("state", *pack(block)), block)


@given(floats(4, 2))
def test_quality_that_is_no_flags_is_kept_as_it_is(quality):
    block = Prognoses("pump", Keys.of(["p1"], 0 * SIX[:4], SIX[:4], SIX[:4], SIX[:4]), {"quality": quality})
    assert same(unpack("prognosis", *pack(block)), block)


def test_quality_takes_a_byte_each():
    flags = np.array([[0, 255], [64, 3], [0, 0], [17, 1]], np.float32)
    block = Prognoses("pump", Keys.of(["p1"], 0 * SIX[:4], SIX[:4], SIX[:4], SIX[:4]), {"quality": flags})
    body, size = pack(block)
    columns, _ = read_table(packing.unpack(body, SHUFFLED, size))
    assert columns["output.quality"].dtype == np.uint8
    assert same(unpack("prognosis", body, size), block)


def test_an_unpacked_block_is_a_table_that_others_read():
    block = observations(waveforms={"shake": Snapshots(np.array([1], np.int32), np.ones((1, 3), np.float32))})
    body, size = pack(block)
    columns, notes = read_table(packing.unpack(body, SHUFFLED, size))
    assert columns["readings"].tolist() == [[0, 2, 4], [1, 3, 5]]  # channel by channel
    assert set(columns) == {
        *("asset", "term", "number", "t", "t_rx", "readings", "event", "age"),
        *("waveform.shake.row", "waveform.shake.features"),
    }
    assert json.loads(notes["rows"]) == {"class": "pump", "assets": ["p1", "p3"], "channels": ["flow", "speed"]}


def test_columns_that_do_not_fit_are_not_sent():
    with pytest.raises(ValueError, match="column 'event' has 2 rows, its block 3"):
        pack(observations(event=np.zeros(2, np.float32)))
    snapshots = Snapshots(np.zeros(1, np.int32), np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="waveform 'shake': 1 rows, 2 of features"):
        pack(observations(waveforms={"shake": snapshots}))


def table_of(block, notes=None, **changes):
    """The body and size of a block whose columns and notes were changed; None: left out."""
    columns, said = read_table(packing.unpack(*(pack(block)[0], SHUFFLED, pack(block)[1])))
    columns = {name: value for name, value in (columns | changes).items() if value is not None}
    meta = json.loads(said["rows"]) | (notes or {})
    table = write_table(columns, {"rows": json.dumps(meta)})
    return packing.pack(table), len(table)


def test_columns_that_are_not_known_are_passed_over():
    body, size = table_of(observations(), {"colour": "red"}, mood=np.zeros(7, np.uint16))
    assert same(unpack("observation", body, size), observations())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"asset": None}, "'asset' is missing"),
        ({"asset": np.array([0, 1, 2], np.int32)}, "outside its 2 assets"),
        ({"asset": np.array([0, -1, 1], np.int32)}, "outside its 2 assets"),
        ({"asset": np.zeros((3, 1), np.int32)}, "'asset' is int32"),
        ({"asset": np.array(0, np.int32)}, "'asset' is int32"),
        ({"number": np.array([0, -1, 1])}, "below 0"),
        ({"t": np.zeros(3, np.float32)}, "'t' is float32"),
        ({"t": np.zeros(4, np.int64)}, "has 4 rows, its block 3"),
        ({"readings": np.zeros((3, 3), np.float32)}, "'readings' is float32"),
        ({"event": np.zeros(3)}, "'event' is float64"),
        ({"notes": {"class": "a/b"}}, "its class"),
        ({"notes": {"assets": None}}, "its assets"),
        ({"notes": {"assets": ["p1", "a b"]}}, "its assets"),
        ({"notes": {"assets": ["p1", "p1"]}}, "not distinct"),
        ({"notes": {"channels": 7}}, "its channels"),
        ({"waveform.w.row": np.array([3], np.int32), "waveform.w.features": np.zeros((2, 1), "f4")}, "outside its 3"),
        ({"waveform.w.row": np.array([1], np.int32), "waveform.w.features": np.zeros((2, 2), "f4")}, "outside its 3"),
        ({"waveform.w.row": np.array([1], np.int32)}, "is missing"),
        ({"waveform.a b.row": np.array([1], np.int32)}, "no identifier"),
    ],
)
def test_what_is_no_block_of_its_kind(changes, said):
    with pytest.raises(WireError, match=said) as refused:
        unpack("observation", *table_of(observations(), **changes))
    assert refused.value.reason == "rows"


def test_a_block_of_an_unknown_kind_or_size():
    body, size = pack(observations())
    with pytest.raises(WireError, match="kind"):
        unpack("gossip", body, size)
    with pytest.raises(WireError, match="size"):
        unpack("observation", body, size, limits=Limits(block=size - 1))
    with pytest.raises(WireError, match="packing"):
        unpack("observation", body, size - 1)
    with pytest.raises(WireError, match="rows"):
        unpack("prognosis", *table_of(observations(), **{"output.rul": np.zeros((1, 1, 3), np.float32)}))


@FUZZ
@given(st.data())
def test_a_damaged_table_is_read_or_refused(data):
    """Whatever bits turn over after the packing, which zlib's own checksum would find."""
    block = data.draw(rows())
    body, size = pack(block)
    table = bytearray(packing.unpack(body, SHUFFLED, size))
    for _ in range(data.draw(st.integers(1, 4))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    packed = packing.pack(bytes(table))
    is_read_or_refused(lambda: unpack(block.kind, packed, len(table)), ("block", "rows", "json"))
