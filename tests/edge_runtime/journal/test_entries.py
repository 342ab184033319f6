"""Entries come back as they were, and whatever else is read is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_runtime.batch import Batch, Samples
from edge_runtime.errors import JournalError
from edge_runtime.journal.entries import pack_batch, pack_samples, unpack_batch, unpack_samples

int64 = st.integers(-(2**63), 2**63 - 1)
float32 = st.floats(width=32, allow_nan=True, allow_subnormal=True)


def column(count, kind, elements):
    return arrays.arrays(kind, count, elements=elements)


@st.composite
def samples(draw):
    rows, columns = draw(st.integers(0, 40)), draw(st.integers(2, 9))
    return Samples(
        draw(column(rows, np.int64, st.integers(0, 2**31 - 1))),
        draw(column(rows, np.int64, int64)),
        draw(column(rows, np.int64, int64)),
        draw(arrays.arrays(np.float32, (rows, columns), elements=float32, fill=st.just(np.float32("nan")))),
    )


@st.composite
def batches(draw):
    rows, columns = draw(st.integers(0, 40)), draw(st.integers(0, 9))
    waveforms = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=20), max_size=2, unique=True)):
        count, axes, length = draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 8))
        waveforms[name] = (
            draw(arrays.arrays(np.float32, (count, axes, length), elements=float32)),
            draw(column(count, np.int64, st.integers(0, 2**31 - 1))),
        )
    return Batch(
        draw(column(rows, np.int64, st.integers(0, 2**31 - 1))),
        draw(column(rows, np.int64, int64)),
        draw(arrays.arrays(np.float32, (rows, columns), elements=float32)),
        draw(column(rows, np.float32, float32)),
        draw(column(rows, np.float32, float32)),
        waveforms,
        draw(column(rows, np.int64, int64)),
    )


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(samples())
def test_samples_come_back(given):
    found = unpack_samples(pack_samples(given))
    for name in ("rows", "time", "t_rx"):
        assert same(getattr(found, name), getattr(given, name))
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, given.values)


@given(batches())
def test_a_batch_comes_back_bit_for_bit(given):
    found = unpack_batch(pack_batch(given))
    for name in ("rows", "time", "readings", "event", "age", "t_rx"):
        assert same(getattr(found, name), getattr(given, name))
    assert list(found.waveforms) == list(given.waveforms)
    for name, (samples, position) in given.waveforms.items():
        assert same(found.waveforms[name][0], samples)
        assert same(found.waveforms[name][1], position)
    assert found.receipts == ()
    assert all(part.flags.writeable for part in (found.readings, found.time))


@given(st.binary(max_size=200))
def test_whatever_else_is_refused(body):
    for unpack in (unpack_batch, unpack_samples):
        with pytest.raises(JournalError):
            unpack(body)


@given(batches(), st.data())
def test_what_was_cut_off_or_changed_is_refused_or_read_but_never_worse(batch, data):
    body = bytearray(pack_batch(batch))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    else:
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        unpack_batch(bytes(body))
    except JournalError as error:
        assert "entry" in str(error)  # noqa: PT017 - both outcomes are right


def test_one_is_not_taken_for_the_other():
    empty = Samples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    with pytest.raises(JournalError, match="damaged"):
        unpack_batch(pack_samples(empty))


def test_a_large_head_takes_no_memory():
    body = bytearray(pack_samples(Samples(*[np.zeros(0, np.int64)] * 3, np.zeros((0, 4), np.float32))))
    body[2:6] = (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(JournalError, match="cut off"):
        unpack_samples(bytes(body))


def test_many_machines_take_half_the_room_and_sparse_samples_little():
    rng, rows = np.random.default_rng(0), np.arange(5000)
    now = np.full(5000, 1_800_000_000 * 10**9) + rng.integers(0, 10**9, 5000)
    readings = np.round(rng.normal(500, 10, (5000, 24)), 2).astype(np.float32)
    batch = Batch(rows, now, readings, np.zeros(5000, np.float32), np.full(5000, np.nan, np.float32), {}, now)
    plain = sum(part.nbytes for part in (now, now, readings, batch.event, batch.age)) + 4 * 5000
    assert len(pack_batch(batch)) < 0.6 * plain
    values = np.full((50, 26), np.nan, np.float32)
    values[:, 3] = rng.normal(size=50)
    assert len(pack_samples(Samples(rows[:50], now[:50], now[:50], values))) < 20 * 50
