import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from edge_runtime.contract import packing
from edge_runtime.contract.packing import DICTIONARY, ENCODINGS, RAW, SHUFFLED, pack, smallest, unpack
from edge_runtime.errors import WireError
from tests.edge_runtime.contract.messages import FUZZ, is_read_or_refused


@given(st.binary(max_size=100))
def test_what_is_packed_comes_back(data):
    assert unpack(pack(data), SHUFFLED, len(data)) == data


@given(hn.arrays(np.uint32, st.integers(0, 200), elements=st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**31, 5])))
def test_the_smallest_way_keeps_every_bit(bits):
    data = bits.tobytes()
    encoding, packed = smallest(data)
    assert unpack(packed, encoding, len(data)) == data
    assert len(packed) <= len(data)


def test_samples_of_a_converter_go_as_a_dictionary():
    time = np.arange(4096) / 1e4
    noise = np.random.default_rng(1).normal(0, 0.4, len(time))
    sixteen_bits = np.round((2 * np.sin(2 * np.pi * 25 * time) + noise) / 0.0048) * 0.0048
    data = sixteen_bits.astype("<f4").tobytes()
    encoding, packed = smallest(data)
    assert encoding == DICTIONARY
    assert len(packed) < 0.75 * len(zlib.compress(data)) < 0.75 * 0.75 * len(data)
    assert unpack(packed, encoding, len(data)) == data


def test_special_numbers_in_a_dictionary():
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1.5], "<f4")
    data = np.random.default_rng(1).choice(special, 500).tobytes()
    assert smallest(data)[0] == DICTIONARY
    assert unpack(smallest(data)[1], DICTIONARY, len(data)) == data


def test_what_does_not_get_smaller_stays_as_it_is():
    data = np.random.default_rng(1).bytes(40)
    assert smallest(data) == (RAW, data)


@FUZZ
@given(st.binary(max_size=60), st.sampled_from([*ENCODINGS, "lzma"]), st.integers(0, 100), st.booleans())
def test_whatever_comes_is_unpacked_or_refused(data, encoding, size, deflated):
    packed = zlib.compress(data) if deflated else data
    found = is_read_or_refused(lambda: unpack(packed, encoding, size), ("packing", "encoding"))
    assert found is None or len(found) == size


@pytest.mark.parametrize("encoding", [SHUFFLED, DICTIONARY])
def test_a_bomb_is_not_unpacked(encoding, monkeypatch):
    bomb = zlib.compress(bytes(100 << 20), 9)
    asked = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self):
            self.real = real()
            self.eof, self.unused_data = False, b""

        def decompress(self, data, most):
            text = self.real.decompress(data, most)
            asked.append(len(text))
            return text

    monkeypatch.setattr(packing.zlib, "decompressobj", Watched)
    with pytest.raises(WireError, match="packing"):
        unpack(bomb, encoding, 1000)
    assert asked[0] <= 4 * 65536 + 1000


def test_something_after_the_end_is_refused():
    with pytest.raises(WireError, match="packing"):
        unpack(pack(b"abcd") + b"x", SHUFFLED, 4)
    with pytest.raises(WireError, match="packing"):
        unpack(pack(b"abcd")[:-1], SHUFFLED, 4)
    with pytest.raises(WireError, match="packing"):
        unpack(b"abcd", RAW, 5)


def test_a_dictionary_that_points_outside_itself():
    head, word, places = (1).to_bytes(4, "little"), b"\0\0\0\0", b"\1\0"
    with pytest.raises(WireError, match="packing"):
        unpack(zlib.compress(head + word + places), DICTIONARY, 4)
    with pytest.raises(WireError, match="packing"):
        unpack(zlib.compress((0).to_bytes(4, "little") + places), DICTIONARY, 4)
    assert unpack(zlib.compress(bytes(4)), DICTIONARY, 0) == b""
