import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twins.wear import Course, draw_courses, grow

DAYS = 1 / 72
MODES = ("impeller", "bearing")


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.floats(0.3, 1.6))
def test_damage_starts_at_nothing_and_never_heals(seed, stress):
    rng = np.random.default_rng(seed)
    damage = grow(rng, draw_courses(rng, MODES)["bearing"], np.full(5000, stress), DAYS)
    assert damage[0] == 0
    assert np.all(np.diff(damage) >= 0)


def test_damage_grows_ever_faster_after_its_onset():
    damage = grow(np.random.default_rng(3), Course(10, 20, 2.0), np.ones(72 * 40), DAYS)
    onset, failure = int((damage > 0).argmax()) / 72, int((damage >= 1).argmax()) / 72
    assert onset == pytest.approx(10, rel=0.4)  # the rate wanders
    assert failure == pytest.approx(30, rel=0.4)
    assert damage[int(72 * (onset + failure) / 2)] < 0.4


def test_a_hard_life_is_short():
    days_to_failure = [
        int((grow(np.random.default_rng(5), Course(5, 20, 2.0), np.full(72 * 80, stress), DAYS) >= 1).argmax())
        for stress in (0.7, 1.0, 1.4)
    ]
    assert days_to_failure[0] > days_to_failure[1] > days_to_failure[2] > 0


def test_one_mode_leads():
    leads = []
    for seed in range(200):
        courses = draw_courses(np.random.default_rng(seed), MODES)
        leads.append(min(courses, key=lambda mode: courses[mode].onset + courses[mode].growth))
    assert 60 < leads.count("bearing") < 140
