from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.decode import decode


@dataclass(frozen=True)
class Part:
    name: str
    range: tuple[float, float]
    limit: float | None = None


@dataclass(frozen=True)
class Whole:
    count: int
    ready: bool
    parts: tuple[Part, ...]
    weights: Mapping[str, Mapping[str, float]]
    more: Mapping[str, Any]


GOOD = {
    "count": 1,
    "ready": False,
    "parts": [{"name": "a", "range": [0, 1.5]}],
    "weights": {"x": {"y": 1}},
    "more": {"z": [1, None]},
}


def test_nested_values_are_typed_and_unknown_fields_ignored():
    whole = decode(Whole, GOOD | {"newer": 1}, "w")
    assert whole.parts == (Part("a", (0.0, 1.5), None),)
    assert whole.weights == {"x": {"y": 1.0}}
    assert whole.more == {"z": [1, None]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1.5}, "w.count: expected a whole number, got 1.5"),
        ({"count": True}, "w.count: expected a whole number, got True"),
        ({"ready": 1}, "w.ready: expected true or false"),
        ({"parts": {}}, "w.parts: expected a list"),
        ({"parts": [{"name": "a"}]}, r"w.parts\[0\].range is missing"),
        ({"parts": [{"name": "a", "range": [1]}]}, r"w.parts\[0\].range: expected a list of 2"),
        ({"parts": [{"name": "a", "range": [1, "b"]}]}, r"w.parts\[0\].range\[1\]: expected a number, got 'b'"),
        ({"parts": [{"name": "a", "range": [1, 2], "limit": "x"}]}, r"w.parts\[0\].limit: expected a number"),
        ({"weights": {"x": {"y": "z"}}}, "w.weights.x.y: expected a number"),
        ({"weights": []}, "w.weights: expected an object"),
    ],
)
def test_errors_name_the_place(change, message):
    with pytest.raises(ValueError, match=message):
        decode(Whole, GOOD | change, "w")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "name", "range"]), inner),
    max_leaves=10,
)


@given(_json)
def test_any_json_either_decodes_or_is_a_value_error(value):
    try:
        decoded = decode(Whole, value, "w")
    except ValueError as error:
        message = str(error)
    else:
        message = f"w: {type(decoded).__name__}"
    assert message.startswith(("w: Whole", "w: expected", "w."))
