import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin as Pymodbus

from edge_runtime.sources.modbus.registers import ORDERS, number, pattern, registers, words

NUMBERS = {
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.data())
def test_every_number_comes_back(kind, order, data):
    value = data.draw(NUMBERS[kind])
    written = registers(value, kind, order)
    assert len(written) == words(kind)
    assert all(0 <= word < 65536 for word in written)
    assert number(pattern(written, order), kind) == value


@given(st.sampled_from(ORDERS), st.sampled_from(sorted(NUMBERS)), st.data())
def test_any_registers_have_a_meaning(order, kind, data):
    found = data.draw(st.lists(st.integers(0, 65535), min_size=words(kind), max_size=words(kind)))
    bits = pattern(found, order)
    assert 0 <= bits < 1 << 16 * words(kind)
    value = number(bits, kind)
    if math.isfinite(value):
        assert pattern(registers(value, kind, order), order) in (
            bits,
            bits ^ 1 << 16 * words(kind) - 1 if value == 0 else bits,
        )


@given(st.floats(width=32, allow_nan=False))
def test_the_orders_are_what_their_names_say(value):
    a, b, c, d = struct.pack(">f", value)
    in_order = {"ABCD": [(a, b), (c, d)], "BADC": [(b, a), (d, c)], "CDAB": [(c, d), (a, b)], "DCBA": [(d, c), (b, a)]}
    for order in ORDERS:
        assert number(pattern([high << 8 | low for high, low in in_order[order]], order), "float32") == value


@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.data())
def test_pymodbus_reads_the_same(kind, data):
    value = data.draw(NUMBERS[kind])
    theirs = Pymodbus.DATATYPE[kind.upper()]
    for order, word_order in (("ABCD", "big"), ("CDAB", "little")):
        assert Pymodbus.convert_to_registers(value, theirs, word_order=word_order) == registers(value, kind, order)


def test_bits_of_a_register():
    assert [number(0b1000_0000_0000_0101, "bool", bit) for bit in range(16)] == [1, 0, 1, *[0] * 12, 1]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (32768, "int16"),
        (-1, "uint16"),
        (2**64, "uint64"),
        (1e39, "float32"),
        (math.nan, "int16"),
        (math.inf, "float32"),
    ],
)
def test_what_does_not_fit_is_refused(value, kind):
    with pytest.raises(ValueError, match=r"does not fit|cannot be written"):
        registers(value, kind)


def test_numbers_between_are_rounded():
    assert registers(2.6, "int16") == [3]
    assert registers(-2.6, "int16") == [65533]
