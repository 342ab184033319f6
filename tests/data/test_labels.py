import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.asset_class import AssetClass
from data.labels import label
from data.lives import Life
from tests.data.conftest import FAN, merged

MINUTE = 60_000_000_000
CLS = AssetClass.model_validate(FAN)  # cap 60, horizon 10, healthy with 50 left; minutes


def life(kind, end, asset="A", number=0):
    return Life(asset, number, 0, end * MINUTE, end * MINUTE, kind, False, True)


def labelled(kind, *remaining, end=1000):
    time = (end - np.array(remaining)) * MINUTE
    return label(CLS, [life(kind, end)], "A", np.zeros(len(remaining), np.int32), time)


def test_a_failure_tells_the_remaining_life():
    found = labelled("failure", 500, 60, 50, 10, 0)
    np.testing.assert_array_equal(found.rul, [500, 60, 50, 10, 0])
    np.testing.assert_array_equal(found.lower, [60, 60, 50, 10, 0])
    np.testing.assert_array_equal(found.upper, found.lower)
    np.testing.assert_array_equal(found.failed_within, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.healthy, [True, True, True, False, False])
    assert found.exact.all()


@pytest.mark.parametrize("kind", ["censored", "repair"])
def test_censoring_tells_a_lower_limit(kind):
    found = labelled(kind, 500, 60, 20, 10, 3)
    assert np.isnan(found.rul).all()
    np.testing.assert_array_equal(found.lower, [60, 60, 20, 10, 3])
    np.testing.assert_array_equal(found.upper, [60, 60, 60, 60, 60])
    np.testing.assert_array_equal(found.exact, [True, True, False, False, False])
    np.testing.assert_array_equal(found.failed_within, [0, 0, 0, 0, np.nan])
    np.testing.assert_array_equal(found.healthy, [True, True, False, False, False])


def test_rows_of_many_machines_and_lives():
    lives = [life("failure", 100, "A", 0), life("censored", 300, "A", 1), life("failure", 50, "B", 0)]
    found = label(CLS, lives, np.array(["B", "A", "A"]), np.array([0, 1, 0]), np.array([40, 295, 95]) * MINUTE)
    np.testing.assert_array_equal(found.rul, [10, np.nan, 5])


def test_a_row_of_no_life_is_an_error():
    with pytest.raises(ValueError, match="no life 3 of asset A"):
        label(CLS, [life("failure", 100)], "A", np.array([0, 3]), np.array([1, 2]))


def test_the_age_of_healthy_machines_may_be_limited():
    cls = AssetClass.model_validate(merged(FAN, {"life": {"healthy": {"max_age": 5}}}))
    args = (cls, [life("failure", 1000)], "A", np.zeros(3, np.int32), np.zeros(3, np.int64))
    np.testing.assert_array_equal(label(*args, age=np.array([5, 6, np.nan])).healthy, [True, False, False])
    assert not label(*args).healthy.any()


@given(st.sampled_from(["failure", "repair", "censored"]), st.lists(st.integers(0, 2000), min_size=1))
def test_labels_never_contradict_themselves(kind, remaining):
    found = labelled(kind, *remaining, end=2000)
    assert (found.lower <= found.upper).all()
    assert (found.upper <= CLS.labels.cap).all()
    np.testing.assert_array_equal(found.exact, found.lower == found.upper)
    assert not (found.healthy & (found.failed_within == 1)).any()
    assert (np.isnan(found.rul) | (np.minimum(found.rul, 60) == found.lower)).all()
