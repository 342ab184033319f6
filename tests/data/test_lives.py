import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.asset_class import AssetClass
from data.errors import SourceError
from data.lives import ages, divide, events, read_lives, write_lives
from data.recording import End, Recording
from tests.data.conftest import FAN, merged

MINUTE = 60_000_000_000


def recording(minutes, **more):
    return Recording("A", np.array(minutes, np.int64) * MINUTE, {}, **more)


def summary(cls, rec):
    lives, _, _ = divide(cls, rec)
    return [
        (life.begin // MINUTE, life.last // MINUTE, life.end // MINUTE, life.kind, life.known_new) for life in lives
    ]


def test_without_a_word_from_the_source_the_class_decides(fan):
    assert summary(fan(), recording([1, 2, 3])) == [(1, 3, 3, "failure", True)]
    cls = fan(life={"begins": "unknown", "ends": "censored"})
    assert summary(cls, recording([1, 2, 3])) == [(1, 3, 3, "censored", False)]


def test_failures_and_repairs_end_lives(fan):
    ends = (End(4 * MINUTE, "repair"), End(2 * MINUTE, "failure"))
    assert summary(fan(), recording([1, 2, 3, 5, 6], ends=ends, censored=True)) == [
        (1, 2, 2, "failure", True),
        (3, 3, 4, "repair", True),
        (5, 6, 6, "censored", True),
    ]


def test_a_failure_after_the_record_ends_its_last_life(fan):
    assert summary(fan(), recording([1, 2], ends=(End(9 * MINUTE, "failure"),))) == [(1, 2, 9, "failure", True)]


@pytest.mark.parametrize(("minutes", "count"), [([0], 1), ([9, 20], 1), ([2, 3], 1), ([2, 4], 1), ([2, 9], 0)])
def test_failures_that_end_no_life_are_counted(fan, minutes, count):
    ends = tuple(End(minute * MINUTE, "failure") for minute in minutes)
    _, _, outside = divide(fan(), recording([1, 2, 5], ends=ends))
    assert len(outside) == count


@pytest.mark.parametrize("kinds", [("failure", "repair"), ("repair", "failure"), ("failure", "failure")])
def test_of_a_failure_and_a_repair_at_one_time_the_failure_counts(fan, kinds):
    first, second = (End(2 * MINUTE, kind) for kind in kinds)
    lives, _, outside = divide(fan(), recording([1, 2, 5], ends=(first, second), censored=True))
    assert [life.kind for life in lives] == ["failure", "censored"]
    assert outside == [End(2 * MINUTE, min(kinds, key=lambda kind: kind != "repair"))]


def test_life_and_event_columns_start_lives(fan):
    rec = recording([1, 2, 3, 4], life=np.array([5, 5, 8, 8]), event=np.array([0, 0, 0, 1], np.int8))
    assert [life[:2] for life in summary(fan(), rec)] == [(1, 2), (3, 3), (4, 4)]


def test_an_event_on_the_first_row_says_that_it_is_new(fan):
    rec = recording([1, 2], event=np.array([1, 0], np.int8))
    assert summary(fan(life={"begins": "unknown"}), rec)[0][-1]


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True).map(sorted),
    st.lists(st.tuples(st.integers(0, 250), st.sampled_from(["failure", "repair"])), max_size=5),
    st.sampled_from(["new", "unknown"]),
)
def test_lives_tile_the_record(minutes, ends, begins):
    cls = AssetClass.model_validate(merged(FAN, {"life": {"begins": begins}}))
    rec = recording(minutes, ends=tuple(End(minute * MINUTE, kind) for minute, kind in ends))
    lives, life, outside = divide(cls, rec)
    assert [each.life for each in lives] == list(range(len(lives)))
    for each in lives:
        own = rec.time[life == each.life]
        assert (own[0], own[-1]) == (each.begin, each.last)
        assert each.end >= each.last
    for before, after in pairwise(lives):
        assert before.end < after.begin
    assert set(outside) <= set(rec.ends)
    event = events(rec, lives)
    assert set(rec.time[event == 1]) == {each.begin for each in lives if each.known_new}


def test_replaced_sensors_stay_in_the_events(fan):
    rec = recording([1, 2, 3], event=np.array([0, 2, 0], np.int8))
    lives, _, _ = divide(fan(), rec)
    assert events(rec, lives).tolist() == [1, 2, 0]


def age_of(cls, rec):
    lives, life, _ = divide(cls, rec)
    return ages(cls, rec, lives, life).tolist()


def test_age_is_as_given_or_counted_since_new(fan):
    given_age = np.array([7.0, 8.0, np.nan])
    np.testing.assert_array_equal(age_of(fan(), recording([1, 2, 3], age=given_age)), [7, 8, np.nan])
    assert age_of(fan(), recording([1, 2, 5], ends=(End(2 * MINUTE, "failure"),))) == [0, 1, 0]
    rec = recording([1, 5], begins_new=False)
    assert np.isnan(age_of(fan(), rec)).all()
    assert np.isnan(age_of(fan(life={"age": "none"}), recording([1], age=np.array([7.0])))).all()


def test_a_required_age_that_is_unknown_is_refused_with_the_fix(fan):
    cls = fan(life={"age": "required", "begins": "unknown"})
    with pytest.raises(SourceError, match=r"age of A in life 0 is not known: name source\.age"):
        age_of(cls, recording([1, 2]))


def test_lives_read_back_equal(fan, tmp_path):
    lives, _, _ = divide(fan(), recording([1, 2, 1_767_434_400], ends=(End(2 * MINUTE, "repair"),), held_out=True))
    write_lives(lives, tmp_path / "lives.csv")
    assert read_lives(tmp_path / "lives.csv") == lives


def test_a_machine_may_be_called_what_tables_mean_by_nothing(fan, tmp_path):
    lives, _, _ = divide(fan(), dataclasses.replace(recording([1, 2]), asset="NA"))
    write_lives(lives, tmp_path / "lives.csv")
    assert read_lives(tmp_path / "lives.csv") == lives
