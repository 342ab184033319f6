import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.text import check_schema, dump, load
from edge_runtime.errors import MajorError, WireError
from tests.edge_runtime.contract.messages import FUZZ, finite, is_read_or_refused, texts, whole

values = st.recursive(
    st.none() | st.booleans() | whole | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_is_read(value):
    assert load(dump(value), "it") == value


@FUZZ
@given(st.binary(max_size=60) | st.text('{}[]"\\u0d8e1,:-+.NaInfty ', max_size=40).map(str.encode))
def test_whatever_comes_is_an_object_or_refused(data):
    assert isinstance(is_read_or_refused(lambda: load(data, "it"), ("json",)), dict | None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"7",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":9223372036854775808}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'{"a\\u0000":1}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_json_that_is_not_the_contracts(text):
    with pytest.raises(WireError, match="json"):
        load(text, "it")


def test_a_backslash_before_u0000_is_no_nul():
    assert load(rb'{"a":"\\u0000"}', "it") == {"a": r"\u0000"}


def test_not_a_number_cannot_be_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"a": float("nan")})


@pytest.mark.parametrize("schema", ["1.0", "1.7", "1.999"])
def test_minors_of_this_major_are_read(schema):
    check_schema({"schema": schema}, "it")


@pytest.mark.parametrize("schema", ["2.0", "0.9", "01.0", "11.0"])
def test_another_major_is_for_the_dead_letters(schema):
    with pytest.raises(MajorError) as refused:
        check_schema({"schema": schema}, "it")
    assert refused.value.reason == "major"


@pytest.mark.parametrize("schema", [None, 1.0, "1", "1.", ".0", "1.x", "one.two", "1.0.0", "1" * 50, "²." + "0"])
def test_no_schema_is_no_message(schema):
    with pytest.raises(WireError, match="schema") as refused:
        check_schema({"schema": schema}, "it")
    assert not isinstance(refused.value, MajorError)
