from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.limits import Limits
from edge_runtime.contract.message import Lane, Spooled
from edge_runtime.contract.waveform import HEADROOM, LARGEST_PART, Assembler, split, waveform_id
from edge_runtime.contract.wire import decode, encode
from tests.edge_runtime.contract.messages import PATIENT, floats, same

RANDOM = np.random.default_rng(1)
NOISE = RANDOM.normal(size=(3, 4096)).astype(np.float32)


def parts_of(samples, *, gateway="gw", asset="a", number=1, largest=LARGEST_PART, **given):
    """(envelope, data) of each part, as a reader has them."""
    made = split(samples, asset=asset, channel="shake", term=1, number=number, t=7, t_rx=8, largest=largest, **given)
    messages = [decode(*encode(Spooled(1, i, part), gateway, 1)) for i, part in enumerate(made, 1)]
    return [(message.envelope, message.body) for message in messages]


@PATIENT
@given(st.data(), st.integers(1, 3), st.integers(1, 300), st.integers(20, 400))
def test_in_any_order_with_repetitions_it_comes_back_bit_by_bit(data, axes, length, room):
    seed = data.draw(st.integers(0, 99))
    samples = np.random.default_rng(seed).normal(size=(axes, length)).astype(np.float32)
    if data.draw(st.booleans()):
        samples[:, : length // 8] = data.draw(floats(axes, length // 8))
    parts = parts_of(samples, largest=HEADROOM + room)
    places = st.integers(0, len(parts) - 1)
    order = data.draw(st.permutations([*range(len(parts)), *data.draw(st.lists(places, max_size=3))]))
    assembler, wholes = Assembler(), []
    for i in order:
        whole = assembler.add(*parts[i], now=0)
        wholes += [whole] if whole else []
    assert same(wholes[0].samples.astype(np.float32), samples)
    assert assembler.counts["complete"] == len(wholes)
    assert assembler.counts["taken"] + assembler.counts["duplicate"] == len(order)
    assert (assembler.memory == 0) == (len(assembler) == 0)


@pytest.mark.parametrize("largest", [3000, 10_000, LARGEST_PART, 1 << 20])
def test_packets_stay_below_what_the_broker_takes(largest):
    asset, channel, model, most = "a" * 64, "c" * 64, "m" * 128, 2**63 - 1
    numbers = {"term": most, "number": most, "t": most, "t_rx": most}
    made = split(NOISE, asset=asset, channel=channel, **numbers, largest=largest, model_id=model)
    for part in made:
        _, payload = encode(Spooled(most, most, part), "g" * 64, most)
        topic = 4 * 64 + 40
        assert len(payload) + topic + 100 <= min(largest, LARGEST_PART)
    assert len(made) > 1 or largest > 41_000


def test_what_a_part_says():
    (envelope, _), *_ = parts_of(NOISE, lane=Lane.RAW, model_id="m", clock_synced=False, largest=10_000)
    part, parts = envelope.part, -(-envelope.part.size // (10_000 - HEADROOM))
    assert part.id == waveform_id("a", "shake", 1, 1) == "a.shake.1.1"
    assert (part.part, part.parts, part.shape, part.channel) == (0, parts, (3, 4096), "shake")
    assert (envelope.asset, envelope.lane, envelope.clock, envelope.model_id) == ("a", "raw", "free", "m")
    assert (envelope.t, envelope.t_rx) == (7, 8)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (5,), (1, 1, 1)])
def test_what_is_no_waveform(shape):
    with pytest.raises(ValueError, match="expected \\[axes, samples\\]"):
        parts_of(np.zeros(shape, np.float32))


@pytest.mark.parametrize("largest", [HEADROOM, HEADROOM + 1])
def test_too_many_parts(largest):
    with pytest.raises(ValueError, match="parts of"):
        parts_of(NOISE, largest=largest)


def test_damage_is_found():
    parts = parts_of(NOISE, largest=20_000)
    assembler = Assembler()
    for i, (envelope, body) in enumerate(parts):
        damaged = body[:-1] + bytes([body[-1] ^ 1]) if i == 1 else body
        assert assembler.add(envelope, damaged, 0) is None
    assert assembler.counts["packing"] + assembler.counts["checksum"] == 1
    wrong = "0" * 64
    for envelope, body in parts:
        other = replace(envelope, part=replace(envelope.part, sha256=wrong))
        assert assembler.add(other, body, 0) is None
    assert assembler.counts["checksum"] >= 1
    assert len(assembler) == assembler.memory == 0


def test_parts_that_belong_to_something_else():
    (envelope, body), (second, _), *_ = parts_of(NOISE, largest=20_000)
    assembler = Assembler()
    assembler.add(envelope, body, 0)
    for changes in ({"parts": 9}, {"shape": (4096, 3)}, {"sha256": "1" * 64}):
        assert assembler.add(replace(second, part=replace(second.part, **changes)), body, 0) is None
    assert assembler.counts["mismatch"] == 3
    assert assembler.add(replace(second, gateway="other"), body, 0) is None
    assert len(assembler) == 2


def test_more_bytes_than_announced():
    (envelope, body), (second, _), *_ = parts_of(NOISE, largest=20_000)
    assembler = Assembler()
    assembler.add(envelope, body, 0)
    assert assembler.add(second, bytes(envelope.part.size), 0) is None
    assert assembler.add(second, bytes(envelope.part.size + 1), 0) is None
    assert assembler.add(second, b"", 0) is None
    assert assembler.counts == Counter(taken=1, mismatch=1, refused=2)


def test_what_stays_incomplete_is_given_up():
    (envelope, body), *rest = parts_of(NOISE, largest=20_000)
    assembler = Assembler(patience=100)
    assembler.add(envelope, body, 0)
    assembler.expire(99)
    assert len(assembler) == 1
    assembler.expire(100)
    assert len(assembler) == assembler.memory == 0
    for later, data in [*rest, (envelope, body)]:
        whole = assembler.add(later, data, 200)
    assert same(whole.samples, NOISE)
    assert assembler.counts["timeout"] == 1


def test_memory_is_bounded_by_bytes_and_by_waveforms():
    few = Assembler(memory=100_000)
    for number in range(50):
        envelope, body = parts_of(NOISE, number=number, largest=20_000)[0]
        few.add(envelope, body, 0)
        assert few.memory <= 100_000
    assert few.counts["evicted"] == 50 - len(few)
    assert 4 <= len(few) <= 6
    small = Assembler(most=3)
    for number in range(10):
        small.add(*parts_of(NOISE, number=number, largest=20_000)[0], now=0)
    assert len(small) == 3


def test_limits_of_a_reader():
    parts = parts_of(NOISE)
    assembler = Assembler(limits=Limits(waveform=NOISE.nbytes - 1))
    assert assembler.add(*parts[0], now=0) is None
    assert assembler.counts["refused"] == 1
