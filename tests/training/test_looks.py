"""The log of looks at the test machines: what is a new look, what is the same, and that nothing is rewritten."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from training import looks
from training.looks import PARTS, Look

SAME = dict.fromkeys(PARTS, "a")
AT = "2026-01-03T10:00:00+00:00"


def test_examples():
    failed, tried = doctest.testmod(looks)
    assert tried > 0
    assert failed == 0


def test_a_repeated_run_is_the_same_look(tmp_path):
    path = tmp_path / "pump" / "looks.jsonl"
    first, _ = looks.record(path, SAME, AT, "c0", 2.5)
    before = path.read_bytes()
    again, had = looks.record(path, SAME, "2027-01-01T00:00:00+00:00", "c1", 2.5)
    assert again == first == Look(1, AT, "c0", SAME, 2.5)
    assert had == [first]
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", PARTS)
def test_any_other_choice_is_another_look_and_says_so(tmp_path, part):
    path = tmp_path / "looks.jsonl"
    looks.record(path, SAME, AT, "c0", 2.5)
    second, had = looks.record(path, SAME | {part: "b"}, AT, "c0", 2.4)
    assert second.look == 2
    assert looks.read(path) == had
    first, other = looks.remarks(had)
    assert "unbiased" in first
    assert f"differs from look 1 in {PARTS[part]}:" in other
    assert "no longer a single unbiased look" in other
    assert (had[0].choices == had[1].choices) == (part == "data")


def test_going_back_to_earlier_choices_is_the_earlier_look(tmp_path):
    path = tmp_path / "looks.jsonl"
    for model in "aba":
        look, had = looks.record(path, SAME | {"models": model}, AT, "c0", None)
    assert look.look == 1
    assert len(had) == 2  # but two have been had


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_there_are_as_many_looks_as_different_choices(tmp_path_factory, models):
    path = tmp_path_factory.mktemp("log") / "looks.jsonl"
    grown = b""
    for model in models:
        _, had = looks.record(path, SAME | {"models": model}, AT, "c0", 1.0)
        assert path.read_bytes().startswith(grown)  # only ever added to
        grown = path.read_bytes()
    assert [look.look for look in had] == list(range(1, len(set(models)) + 1))
    assert len(looks.remarks(had)) == len(had)


def test_a_line_that_is_no_look_is_refused_by_number(tmp_path):
    path = tmp_path / "looks.jsonl"
    looks.record(path, SAME, AT, "c0", 1.0)
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(DataError, match=r"line 2.*version control"):
        looks.read(path)


def test_a_look_needs_all_its_parts(tmp_path):
    with pytest.raises(ValueError, match="parts"):
        looks.record(tmp_path / "looks.jsonl", {"data": "a"}, AT, "c0", 1.0)


def test_where_one_file_ends_and_the_next_begins_counts():
    assert looks.digest([b"ab", b"c"]) != looks.digest([b"a", b"bc"])
