"""From what the models say to a prognosis: always finite, never narrower than what is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.machines import asset_class, life
from training.calibration import Calibration, Head
from training.prognosis import Said, prognose, ramps, slopes

CAP = 100.0
KNOTS = [0.0, 20.0, 60.0, 100.0]
AGED = Head({"lstm": 0.25, "xgboost": 0.75}, [0, -4, -8, -10], [3, 5, 9, 10], [0.95, 0.5, 0.02, 0.0])
FREE = Head({"lstm": 0.5, "xgboost": 0.5}, [0, -12, -25, -30], [15, 18, 25, 30], [0.8, 0.4, 0.1, 0.05])
BOTH = Calibration(
    cap=CAP,
    horizon=20.0,
    level=0.9,
    knots=KNOTS,
    heads={"aged": AGED, "free": FREE},
    prior=0.2,
    anomaly_path=[0.6, 0.9, 1.2],
    anomaly_rank=[1.0, 0.4, 0.0],
    familiar=1.5,
    familiar_share=0.99,
)
CLASSES = {age: asset_class(life=life(age)) for age in ("optional", "required", "none")}
CALIBRATIONS = {
    "optional": BOTH,
    "required": replace(BOTH, heads={"aged": AGED}),
    "none": replace(BOTH, heads={"free": FREE}),
}

LIVES = st.floats(-200, 400, width=32)
SHARES = st.floats(0, 1, width=32)
PATHS, NOVELTIES = st.floats(0, 3, width=32), st.floats(0, 2.0**99, width=32)
ROWS = st.lists(st.tuples(LIVES, LIVES, LIVES, PATHS, st.booleans(), SHARES, NOVELTIES), min_size=1)


def column(values):
    return np.array(values, np.float32).reshape(-1, 1)


def say(age="optional", lstm=50, aged=50, free=50, path=1.0, since_new=1, warming_up=0.0, novelty=0.5):
    """The prognosis of machines of which the models say this: numbers or lists."""
    said = [column(np.atleast_1d(x)) for x in (lstm, aged, free, path, since_new, warming_up, novelty)]
    said = [np.broadcast_to(x, (max(map(len, said)), 1)) for x in said]
    return prognose(CLASSES[age], CALIBRATIONS[age], Said(*said[:4]), *said[4:])


@given(st.sampled_from(sorted(CLASSES)), ROWS)
@settings(max_examples=100, deadline=None)
def test_whatever_the_models_say_the_prognosis_is_in_order(age, rows):
    made = say(age, *map(list, zip(*rows, strict=True)))
    assert (made.rul >= 0).all()
    assert (made.rul <= CAP).all()
    assert (made.lower >= 0).all()
    assert (made.lower <= made.rul + 1e-4).all()
    assert (made.upper >= made.rul - 1e-4).all()
    assert (np.isposinf(made.upper) | (made.upper < CAP)).all()
    for share in (made.failure_probability, made.anomaly_score):
        assert (share >= -1e-6).all()
        assert (share <= 1 + 1e-6).all()
    assert np.isfinite(made.rul_model).all()
    assert made.rul_model.shape == (len(rows), 2)


@given(LIVES, LIVES, SHARES, SHARES)
@settings(max_examples=100, deadline=None)
def test_the_colder_a_twin_the_wider_its_interval(lstm, aged, one, other):
    warmer, colder = sorted([one, other])
    made = say(lstm=lstm, aged=aged, warming_up=[warmer, colder])
    assert made.lower[1] <= made.lower[0]
    assert made.upper[1] >= made.upper[0] - 1e-4
    assert made.rul[0] == made.rul[1]


@given(LIVES, LIVES, NOVELTIES, NOVELTIES)
@settings(max_examples=100, deadline=None)
def test_the_less_familiar_the_wider_the_interval(lstm, aged, one, other):
    nearer, farther = sorted([one, other])
    made = say(lstm=lstm, aged=aged, novelty=[nearer, farther])
    assert made.unfamiliar[0] <= made.unfamiliar[1]
    assert made.lower[1] <= made.lower[0]
    assert made.upper[1] >= made.upper[0] - 1e-4


def test_familiar_up_to_the_calibrated_novelty_unknown_at_twice_it():
    made = say(lstm=10, aged=10, novelty=[0, 1.5, 2.25, 3, 300])
    np.testing.assert_allclose(made.unfamiliar[:, 0], [0, 0, 0.5, 1, 1])
    assert made.upper[0] == made.upper[1] < made.upper[2]
    assert (made.lower[-1], made.upper[-1]) == (0, np.inf)
    assert made.failure_probability[-1] == pytest.approx(BOTH.prior)


def test_just_connected_nothing_is_known():
    made = say(lstm=10, aged=10, warming_up=1)
    assert (made.lower.item(), made.upper.item()) == (0, np.inf)
    assert made.failure_probability.item() == pytest.approx(BOTH.prior)


def test_a_known_beginning_uses_the_head_with_age():
    made = say(lstm=40, aged=60, free=20, since_new=[1, 0])
    assert made.rul_model.tolist() == [[40, 60], [40, 20]]
    assert made.rul[:, 0].tolist() == pytest.approx([0.25 * 40 + 0.75 * 60, 30])
    width = (made.upper - made.lower)[:, 0]
    assert width[1] > 1.5 * width[0]


@pytest.mark.parametrize("age", ["required", "none"])
def test_a_class_with_one_head_uses_it(age):
    head = CALIBRATIONS[age].heads[{"required": "aged", "none": "free"}[age]]
    made = say(age, lstm=40, aged=60, free=60, since_new=[1, 0])
    rul = head.weights["lstm"] * 40 + head.weights["xgboost"] * 60
    assert made.rul[:, 0].tolist() == pytest.approx([rul, rul])


def test_where_age_is_required_and_unknown_the_twin_stays_cold():
    made = say("required", since_new=[0, 1], warming_up=0.25)
    assert made.warming_up[:, 0].tolist() == [1, 0.25]
    assert np.isposinf(made.upper[0])


def test_interval_and_probability_are_the_calibrated_curves():
    rul = np.linspace(0, 99, 34)  # at 100 the interval reaches the cap
    made = say("none", lstm=rul, free=rul)
    lower, upper = (np.clip(np.add(KNOTS, of), 0, CAP) for of in (FREE.lower, FREE.upper))  # the ends at the knots
    for got, curve in ((made.lower, lower), (made.upper, upper), (made.failure_probability, FREE.failure)):
        np.testing.assert_allclose(got[:, 0], np.interp(rul, KNOTS, curve), rtol=1e-5, atol=1e-5)


def test_an_interval_that_reaches_the_cap_has_no_upper_end():
    made = say(lstm=[85, 100, 150], aged=[85, 100, 150])
    assert np.isposinf(made.upper[:, 0]).tolist() == [False, True, True]
    assert made.rul[:, 0].tolist() == pytest.approx([85, CAP, CAP])


def test_short_paths_are_odd():
    made = say(path=[0.1, 0.6, 0.75, 0.9, 1.2, 2.0])
    assert made.anomaly_score[:, 0].tolist() == pytest.approx([1, 1, 0.7, 0.4, 0, 0], abs=1e-6)


@given(st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3), st.floats(-1, 9, width=32))
def test_curves_of_ramps_are_interpolation(values, x):
    knots, curve = np.float32([0, 2, 7]), np.float32(values)[:, None]
    got = ramps(np.float32([[x]]), knots) @ slopes(knots, curve) + curve[0]
    np.testing.assert_allclose(got[0, 0], np.interp(x, knots, curve[:, 0]), atol=1e-4)
