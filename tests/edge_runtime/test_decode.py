from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.decode import Between, Example, ProblemsError, decode, decode_strict


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


@dataclass(frozen=True)
class Door:
    width: Annotated[float, Between(0.5, 3), Example("0.9")]
    side: Literal["left", "right"]
    key: Path | None = None
    class_: str = "plain"
    locks: tuple[Annotated[int, Between(1)], ...] = ()

    def __post_init__(self):
        if self.class_ == "vault" and self.key is None:
            raise ValueError("a vault needs a key")


def strictly(value, kind=Door):
    return decode_strict(kind, value, "door", Path("/etc/house"))


def test_strict_knows_paths_choices_rules_and_keywords():
    door = strictly({"width": 1, "side": "left", "key": "keys/a.pem", "class": "vault", "locks": [1, 2]})
    assert door == Door(1.0, "left", Path("/etc/house/keys/a.pem"), "vault", (1, 2))
    assert strictly({"width": 1, "side": "left", "key": "/a"}).key == Path("/a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"witdh": 1}, "door.witdh is no key of door: did you mean 'width'?"),
        ({"colour": 1}, "door.colour is no key of door: there are width, side, key, class, locks"),
        ({"width": 4}, "door.width: expected a number from 0.5 to 3, got 4"),
        ({"width": float("nan")}, "door.width: expected a finite number, got nan"),
        ({"width": 10**400}, "door.width: expected a number, got 1000"),
        ({"width": 1 << 20_000}, "door.width: expected a number, got a int too large to show"),
        ({"side": "lefft"}, "door.side: expected one of 'left', 'right', got 'lefft': did you mean 'left'?"),
        ({"side": 1}, "door.side: expected one of 'left', 'right', got 1"),
        ({"key": ""}, "door.key: expected a path (text), got ''"),
        ({"key": "a\0b"}, "door.key: expected a path (text)"),
        ({"locks": [1, 0]}, "door.locks[1]: expected a number from 1 up, got 0"),
        ({"class": "vault"}, "door: a vault needs a key"),
    ],
)
def test_strict_says_what_is_wrong(change, message):
    with pytest.raises(ProblemsError) as found:
        strictly({"width": 1, "side": "left"} | change)
    (problem,) = found.value.problems
    assert problem.startswith(message)


def test_strict_tells_everything_at_once_and_what_to_write():
    with pytest.raises(ProblemsError) as found:
        strictly({"lock": 1, "locks": [0, "a"]})
    assert found.value.problems == (
        "door.lock is no key of door: did you mean 'locks'?",
        "door.width is missing: write width = 0.9",
        'door.side is missing: write side = "left" or "right"',
        "door.locks[0]: expected a number from 1 up, got 0",
        "door.locks[1]: expected a whole number, got 'a'",
    )


def test_counters_are_known():
    assert decode(Counter[str], {"a": 1}, "c") == Counter(a=1)


@given(_json, st.dictionaries(st.sampled_from(["width", "side", "key", "class", "locks", "x"]), _json))
def test_whatever_is_written_is_decoded_or_told(any_value, table):
    for value in (any_value, table):
        try:
            problems = ("door",) if isinstance(strictly(value), Door) else ()
        except ProblemsError as error:
            problems = error.problems
        assert problems
        assert all(problem.startswith("door") for problem in problems)
