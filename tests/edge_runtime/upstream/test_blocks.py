"""Each accepted observation goes into exactly one block, bit by bit, and blocks stay within their bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import Lane
from edge_runtime.contract.tables import unpack
from edge_runtime.upstream.blocks import BlockBuilder, BlockSettings
from edge_runtime.upstream.split import smaller
from tests.edge_runtime.upstream.made import CHANNELS, SECOND, batch, outputs

ASSETS = tuple(f"m{i}" for i in range(9))


def builder(**changes):
    return BlockBuilder("tiny", "model-1", CHANNELS, ASSETS, BlockSettings(**changes))


def unpacked(messages, kind):
    return [unpack(m.kind, m.body, m.size) for m in messages if m.kind == kind]


def rows_of(blocks, value):
    """(asset, term, number) → the bytes of its row."""
    found = {}
    for block in blocks:
        for row in range(len(block.keys)):
            key = (block.keys.name(row), int(block.keys.term[row]), int(block.keys.number[row]))
            assert key not in found
            found[key] = value(block, row)
    return found


def test_a_flush_gives_all_rows_of_a_machine_in_order_of_time():
    blocks = builder()
    for number in (1, 2, 3):
        one = batch([2, 0], number * SECOND)
        blocks.add(10 + number, one, np.zeros(2, np.int64), np.full(2, number), outputs(2), now=0)
    assert (blocks.rows, blocks.position) == (6, 13)
    observations, prognoses = blocks.flush(Lane.LIVE)
    assert (observations.kind, prognoses.kind) == ("observation", "prognosis")
    assert (observations.lane, observations.model_id, observations.asset) == (Lane.LIVE, "model-1", None)
    assert (observations.t, observations.t_rx) == (3 * SECOND, 3 * SECOND + 5)
    keys = unpacked([observations], "observation")[0].keys
    assert [(keys.name(i), int(keys.t[i]) // SECOND) for i in range(6)] == [
        *(("m0", second) for second in (1, 2, 3)),
        *(("m2", second) for second in (1, 2, 3)),
    ]
    assert blocks.rows == 0
    assert blocks.flush(Lane.LIVE) == []


def test_it_is_due_when_rows_have_waited_or_are_many():
    blocks = builder(every=2, bytes=2000, backfill_every=60, backfill_bytes=8000)
    assert not blocks.due(10**18, Lane.LIVE)
    assert blocks.deadline(Lane.LIVE) is None
    blocks.add(1, batch([0], SECOND), np.zeros(1, np.int64), np.ones(1, np.int64), outputs(1), now=SECOND)
    assert blocks.deadline(Lane.LIVE) == 3 * SECOND
    assert [blocks.due(int(s * SECOND), Lane.LIVE) for s in (2.9, 3)] == [False, True]
    assert [blocks.due(s * SECOND, Lane.BACKFILL) for s in (60, 61)] == [False, True]
    for position in range(2, 8):
        blocks.add(
            position, batch(range(9), SECOND), np.zeros(9, np.int64), np.ones(9, np.int64), outputs(9), now=SECOND
        )
    assert blocks.due(SECOND, Lane.LIVE)
    assert not blocks.due(SECOND, Lane.BACKFILL)


@pytest.mark.parametrize("lane", [Lane.LIVE, Lane.BACKFILL])
def test_blocks_are_bounded_before_packing(lane):
    random = np.random.default_rng(1)
    blocks = builder(bytes=4000, backfill_bytes=8000)
    for number in range(1, 101):
        one = batch(range(9), number * SECOND, random=random)
        blocks.add(number, one, np.zeros(9, np.int64), np.full(9, number), outputs(9, random=random), now=0)
    messages = blocks.flush(lane)
    most = 4000 if lane is Lane.LIVE else 8000
    sizes = [m.size for m in messages]
    assert max(sizes) < most + 1500  # and a header
    assert min(sizes) > most / 3
    assert len(rows_of(unpacked(messages, "observation"), lambda b, i: b.readings[i].tobytes())) == 900


@settings(deadline=None)
@given(st.data())
def test_every_accepted_row_is_in_one_block_as_it_was(data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    blocks = builder(bytes=data.draw(st.sampled_from([300, 2000, 10**6])))
    expected, expected_outputs, expected_features, number = {}, {}, {}, np.zeros(9, np.int64)
    messages = []
    for position in range(1, data.draw(st.integers(1, 12)) + 1):
        rows = np.sort(random.choice(9, data.draw(st.integers(1, 9)), replace=False))
        snapshots = np.flatnonzero(random.random(len(rows)) < 0.4)
        samples = random.normal(size=(len(snapshots), 1, 4)).astype(np.float32)
        one = batch(rows, position * SECOND, random=random, waveforms={"shake": (samples, snapshots)})
        accepted = random.random(len(rows)) < 0.8
        number[rows[accepted]] += 1
        said = outputs(accepted.sum(), random=random, snapshots=int(accepted[snapshots].sum()))
        blocks.add(position, one, np.full(len(rows), 3), number[rows], said, now=0, accepted=accepted)
        snapshot = 0
        for place, i in enumerate(np.flatnonzero(accepted)):
            key = (ASSETS[rows[i]], 3, int(number[rows[i]]))
            expected[key] = one.readings[i].tobytes()
            expected_outputs[key] = {name: said[name][place].tobytes() for name in said if "." not in name}
            if i in snapshots:
                expected_features[key] = said["shake.features"][snapshot].tobytes()
                snapshot += 1
        if random.random() < 0.3:
            messages += blocks.flush(Lane.LIVE, largest=data.draw(st.sampled_from([400, 10**6])))
    messages += blocks.flush(Lane.LIVE)
    observations, prognoses = unpacked(messages, "observation"), unpacked(messages, "prognosis")
    assert rows_of(observations, lambda b, i: b.readings[i].tobytes()) == expected
    said = rows_of(prognoses, lambda b, i: {name: v[i].tobytes() for name, v in b.outputs.items()})
    assert said == expected_outputs
    features = {}
    for block in observations:
        for name, snapshots in block.waveforms.items():
            assert name == "shake"
            for row, values in zip(snapshots.row, snapshots.features, strict=True):
                features[block.keys.name(row), 3, int(block.keys.number[row])] = values.tobytes()
    assert features == expected_features


def test_a_block_too_large_for_the_broker_comes_in_pieces():
    blocks = builder(bytes=10**6)
    random = np.random.default_rng(2)
    blocks.add(
        1, batch(range(9), SECOND, random=random), np.zeros(9, np.int64), np.ones(9), outputs(9, random=random), 0
    )
    whole = blocks.flush(Lane.BACKFILL)[1]
    pieces = smaller(whole, len(whole.body) - 1)
    assert len(pieces) > 1
    assert all(len(piece.body) < len(whole.body) for piece in pieces)
    assert {(p.kind, p.lane, p.model_id, p.t_rx) for p in pieces} == {
        ("prognosis", Lane.BACKFILL, "model-1", whole.t_rx)
    }
    again = rows_of(unpacked(pieces, "prognosis"), lambda b, i: b.outputs["rul"][i])
    assert again == rows_of(unpacked([whole], "prognosis"), lambda b, i: b.outputs["rul"][i])


def test_what_cannot_be_made_smaller_is_left():
    blocks = builder()
    blocks.add(1, batch([0], SECOND), np.zeros(1, np.int64), np.ones(1), outputs(1), 0)
    whole = blocks.flush(Lane.LIVE)[0]
    assert smaller(whole, 10) == []
