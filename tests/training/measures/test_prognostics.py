"""α-λ accuracy and prognostic horizon, worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.measures import prognostics
from training.measures.prognostics import ALPHA, OneLife, alpha_lambda, median_horizon, prognostic_horizon


def life(said, left=None, cap=10.0, asset="A"):
    left = np.arange(len(said) - 1, -1.0, -1) if left is None else np.array(left, float)
    return OneLife(asset, left, np.minimum(left, cap), np.array(said, float))


def test_alpha_lambda_by_hand():
    """20 left at the first prognosis: λ = 0.5 is judged where 10 are left, 0.75 at 5, 0.9 at 2; α = 0.2."""
    said = np.arange(20.0, -1, -1)
    said[[10, 15, 18]] = [12.0, 6.1, 1.6]  # 10 ± 2, 5 ± 1, 2 ± 0.4
    one = life(said)
    assert [alpha_lambda(one, share, 1, capped=True) for share in (0.5, 0.75, 0.9)] == [True, False, True]


def test_capped_and_uncapped_truth_differ_far_from_the_failure():
    """At λ = 0.5 20 are left, capped 10: who says 10 is right by the label and far off by the truth."""
    one = life(np.full(41, 10.0))
    assert alpha_lambda(one, 0.5, 1, capped=True)
    assert not alpha_lambda(one, 0.5, 1, capped=False)


def test_a_record_that_ends_before_lambda_is_not_judged():
    """20 left at first and 8 at last: λ = 0.5 (10 left) was seen, 0.75 (5 left) was not."""
    one = life(np.arange(20.0, 7, -1), left=np.arange(20.0, 7, -1))
    assert alpha_lambda(one, 0.5, 1, capped=True) is True
    assert alpha_lambda(one, 0.75, 1, capped=True) is None
    assert prognostics.share_accurate([one, one], 0.75, 1, capped=True) == (None, 0)
    # a record that ends within a tick of it was seen: what was said last holds
    assert alpha_lambda(one, 0.75, 4, capped=True) is True


def test_prognostic_horizon_by_hand():
    """Cap 10: the band is ± 2 about the label. Off by 3 at 6 left, within from 5 on."""
    said = np.minimum(np.arange(20.0, -1, -1), 10)
    said[14] += 3
    assert prognostic_horizon(life(said), 1, cap=10) == 5
    said[14] -= 1
    assert prognostic_horizon(life(said), 1, cap=10) == 10  # never outside: all that can be told apart


def test_whose_last_word_is_wrong_has_no_horizon():
    said = np.minimum(np.arange(20.0, -1, -1), 10)
    said[-1] = 2.5
    assert prognostic_horizon(life(said), 1, cap=10) == 0


def test_a_record_that_ends_before_the_failure_tells_no_horizon():
    one = life([9.0, 8, 7], left=[9.0, 8, 7])
    assert prognostic_horizon(one, 1, cap=10) is None
    assert median_horizon([one], 1, cap=10) == (None, 0)


def test_lives_are_those_whose_failure_is_known_from_warm_up_on():
    rows = pd.DataFrame({
        "asset": ["A"] * 3 + ["B"] * 2 + ["A"], "life": [0] * 5 + [1], "warm": [False, True, True, True, True, True],
        "true_rul": [3.0, 2, 1, np.nan, np.nan, 4], "lower": [2.0, 2, 1, 1, 0, 2], "rul": [9.0, 2, 1, 1, 1, 2],
    })  # fmt: skip
    found = prognostics.lives(rows)
    assert [(each.asset, each.left.tolist()) for each in found] == [("A", [2, 1]), ("A", [4])]


LIFE = st.integers(3, 40).flatmap(
    lambda n: st.lists(st.floats(0, 10), min_size=n, max_size=n).map(lambda said: life(said))
)


@given(LIFE, st.floats(0, 0.99))
def test_the_truth_itself_is_always_accurate(one, share):
    perfect = OneLife("A", one.left, one.label, one.label)
    assert alpha_lambda(perfect, share, 1, capped=True)
    assert prognostic_horizon(perfect, 1, 10) == one.label[0]


@given(LIFE)
def test_within_the_horizon_no_prognosis_leaves_the_band(one):
    reach = prognostic_horizon(one, 1, 10)
    assert 0 <= reach <= one.label[0]
    if reach > 0:
        inside = np.abs(one.said - one.label) <= ALPHA * 10 + 1e-9
        assert inside[one.left < reach].all()
        first = int(np.flatnonzero(one.label == reach)[-1])
        assert inside[first]


def test_shares_count_each_life_once():
    good, bad = life(np.minimum(np.arange(20.0, -1, -1), 10)), life(np.zeros(21))
    assert prognostics.share_accurate([good, good, bad], 0.5, 1, capped=True) == (pytest.approx(2 / 3), 3)
    assert median_horizon([good, good, bad], 1, 10) == (10, 3)
