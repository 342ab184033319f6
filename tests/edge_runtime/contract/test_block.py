import json
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from edge_runtime.contract.block import DTYPES, read_table, write_table
from edge_runtime.contract.limits import Limits
from edge_runtime.errors import WireError
from tests.edge_runtime.contract.messages import FUZZ, PATIENT, is_read_or_refused, same, texts

columns = st.dictionaries(
    texts.filter(lambda name: name != "__metadata__"),
    st.sampled_from(sorted(DTYPES.values())).flatmap(
        lambda code: hn.arrays(np.dtype(code), hn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=5,
)
notes = st.dictionaries(texts, texts, max_size=3)


@PATIENT
@given(columns, notes)
def test_our_reader_and_the_safetensors_library_read_what_we_write(columns, notes):
    data = write_table(columns, notes)
    ours, said = read_table(data)
    assert same(dict(sorted(columns.items())), dict(sorted(ours.items())))
    assert said == notes
    assert same(dict(sorted(columns.items())), dict(sorted(safetensors.numpy.load(data).items())))


@PATIENT
@given(columns, notes)
def test_we_read_what_the_safetensors_library_writes(columns, notes):
    assume(columns)  # safetensors 0.8 writes no valid JSON without any
    data = safetensors.numpy.save(columns, notes)
    ours, said = read_table(data)
    assert same(dict(sorted(columns.items())), dict(sorted(ours.items())))
    assert said == notes


def test_the_library_reads_our_notes(tmp_path):
    path = tmp_path / "block.safetensors"
    path.write_bytes(write_table({"x": np.zeros((2, 3), np.float32)}, {"assets": "p1"}))
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"assets": "p1"}
        assert file.get_tensor("x").shape == (2, 3)


def test_columns_start_where_their_type_wants_to():
    table = write_table({"a": np.zeros(3, np.uint8), "b": np.zeros(3, np.float32), "c": np.zeros(3)}, {})
    (length,) = struct.unpack_from("<Q", table)
    header = json.loads(table[8 : 8 + length])
    assert (8 + length) % 8 == 0
    assert [header[name]["data_offsets"][0] for name in "cba"] == [0, 24, 36]


@pytest.mark.parametrize("column", [np.zeros(2, np.complex64), np.zeros(2, bool), np.zeros(2, np.int8)])
def test_other_types_are_not_written(column):
    with pytest.raises(ValueError, match="column 'x' is"):
        write_table({"x": column}, {})


def made(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "before its header"),
        (struct.pack("<Q", 2**63) + b"{}", "header would have"),
        (made(b"[]"), "JSON"),
        (made({"x": entry("BF16")}, bytes(4)), "no type"),
        (made({"x": entry(["F32"])}, bytes(4)), "no type"),
        (made({"x": 7}, bytes(4)), "no type"),
        (made({"x": entry(shape=[-1])}, bytes(4)), "no shape"),
        (made({"x": entry(shape=[True])}, bytes(4)), "no shape"),
        (made({"x": entry(shape=[1.0])}, bytes(4)), "no shape"),
        (made({"x": entry(shape=[2**62, 2**62])}, bytes(4)), "no shape"),
        (made({"x": entry(shape=[1, 1, 1, 1])}, bytes(4)), "no shape"),
        (made({"x": entry(shape=[0, 2**26, 2**26], offsets=[0, 0])}), "no shape"),
        (made({"x": entry(shape=[2**20, 2**20])}, bytes(4)), "no shape"),
        (made({"x": entry(shape=[2**20])}, bytes(4)), "has 4 bytes"),
        (made({"x": entry(offsets=[0, 8])}, bytes(4)), "outside"),
        (made({"x": entry(offsets=[4, 0])}, bytes(4)), "has -4 bytes"),
        (made({"x": entry(offsets=[0])}, bytes(4)), "outside"),
        (made({"x": entry(offsets=[4, 8])}, bytes(8)), "starts at 4"),
        (made({"x": entry(), "y": entry()}, bytes(8)), "starts at 0"),
        (made({"x": entry()}, bytes(8)), "end at 4"),
        (made({"__metadata__": {"a": 1}}), "notes"),
        (made({"__metadata__": "a"}), "notes"),
        (made({f"c{i}": entry(shape=[0], offsets=[0, 0]) for i in range(600)}), "600 columns"),
    ],
)
def test_what_is_no_table(data, said):
    with pytest.raises(WireError, match=said):
        read_table(data)


def test_numbers_of_columns_are_bounded():
    table = write_table({"a": np.zeros(1), "b": np.zeros(1)}, {})
    read_table(table, Limits(columns=2))
    with pytest.raises(WireError, match="2 columns, 1 are read"):
        read_table(table, Limits(columns=1))


@FUZZ
@given(st.data())
def test_whatever_comes_is_a_table_or_refused(data):
    table = bytearray(write_table(data.draw(columns), {"a": "b"}))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(table) - 1))
        table[place] = data.draw(st.integers(0, 255))
    table = bytes(table)[: data.draw(st.integers(0, len(table)))] if data.draw(st.booleans()) else bytes(table)
    is_read_or_refused(lambda: read_table(table), ("block", "json"))


@FUZZ
@given(st.binary(max_size=100))
def test_random_bytes_are_refused(data):
    with pytest.raises(WireError):
        read_table(data)
