"""Parity: what counts as the same, what a tree split excuses, and what it does not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.training.one_split import one_split
from training.calibration import Calibration, Head
from training.parity import (
    LIFE_OUTPUTS,
    SCORE_OUTPUTS,
    Parity,
    ParityError,
    compare,
    life_tolerance,
    tolerances,
)

ROWS, CAP = 20_000, 100.0
SPLIT = one_split(0.5)


def calibration(steepest=0.0):
    """Its failure probability falls by `steepest` in a unit of life, at the most."""
    head = Head({"lstm": 0.0, "xgboost": 1.0}, [0.0] * 3, [0.0] * 3, [0.9, 0.9 - 2 * steepest, 0.1])
    return Calibration(CAP, 20, 0.9, [0.0, 2.0, CAP], {"aged": head}, 0.2, [0.5, 1.0], [1.0, 0.0], 1.0, 0.99)


CALIBRATION = calibration()


@pytest.fixture
def said():
    rng = np.random.default_rng(0)
    life = {name: rng.uniform(0, CAP, ROWS).astype(np.float32) for name in LIFE_OUTPUTS}
    score = {name: rng.uniform(0, 1, ROWS).astype(np.float32) for name in SCORE_OUTPUTS}
    table = pd.DataFrame({"asset": "a", "row": np.arange(ROWS), **life, **score})
    table.loc[:50, "rul_upper"] = np.inf
    return table


def features(value):
    return np.full((ROWS, 1), value, np.float32)


def test_equal_is_equal_and_so_are_infinities(said):
    assert compare(said, said.copy(), SPLIT, features(0.1), CALIBRATION) == Parity(ROWS, 0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("name", [*LIFE_OUTPUTS, *SCORE_OUTPUTS])
def test_every_output_counts(said, name):
    other = said.copy()
    other.loc[100, name] += np.float32(0.01)
    with pytest.raises(ParityError, match=r"1 of 20000 rows .* asset 'a', observation 100"):
        compare(other, said, SPLIT, features(0.1), CALIBRATION)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_what_is_not_finite_differs(said, strange):
    other = said.copy()
    other.loc[100, "rul"] = strange
    with pytest.raises(ParityError):
        compare(other, said, SPLIT, features(0.1), CALIBRATION)


def test_rounding_is_no_difference(said):
    other = said.copy()
    other["rul"] += np.float32(5e-4)
    other["anomaly_score"] += np.float32(5e-6)
    made = compare(other, said, SPLIT, features(0.1), CALIBRATION)
    assert made.max_abs_error == pytest.approx(5e-4, rel=0.1)
    assert made.max_score_error == pytest.approx(5e-6, rel=0.1)


def test_what_follows_from_the_remaining_life_may_move_as_far_as_it(said):
    """Trees of 400 add up to 1e-4 of rounding; where the curve is steep that alone is more than scores are allowed."""
    steep, life = calibration(0.2), life_tolerance(CAP)
    assert tolerances(steep)["failure_probability"] == pytest.approx(0.2 * life, rel=1e-3)
    assert tolerances(calibration(1e-6))["failure_probability"] == 1e-5  # another curve is flat
    ends = replace(
        steep, heads={"aged": replace(steep.heads["aged"], lower=[-10.0, -12.0, 0.0], upper=[0.0, 8.0, 0.0])}
    )
    allowed = tolerances(ends)
    assert (allowed["rul"], allowed["rul_lower"], allowed["rul_upper"]) == pytest.approx(
        (life, 100 / 98 * life, 5 * life)
    )
    said.loc[100, "rul"], said.loc[101, "rul"] = np.float32(1), np.float32(50)
    for name, difference in (("failure_probability", 1e-4), ("rul_upper", 4e-3)):
        other = said.copy()
        other.loc[101, name] += np.float32(difference)  # where the curves are not steep
        with pytest.raises(ParityError, match=f"the worst is {name} .* observation 101"):
            compare(other, said, SPLIT, features(0.1), ends)
        other = said.copy()
        other.loc[100, name] += np.float32(difference)
        made = compare(other, said, SPLIT, features(0.1), ends)
        assert max(made.max_abs_error, made.max_score_error) == pytest.approx(difference, rel=0.1)
        assert made.within_tolerance == 1
        other.loc[100, name] += np.float32(2 * difference)
        with pytest.raises(ParityError, match=f"the worst is {name} "):
            compare(other, said, SPLIT, features(0.1), ends)
    other = said.copy()
    other.loc[100, "anomaly_score"] += np.float32(1e-4)
    with pytest.raises(ParityError, match=r"anomaly_score \(tolerance 1e-05\)"):
        compare(other, said, SPLIT, features(0.1), ends)


def test_an_upper_end_at_the_edge_may_be_open_in_one_of_them(said):
    """Rounding decides on which side of 0.9999 of the cap it falls."""
    other = said.copy()
    said.loc[100, "rul_upper"], other.loc[100, "rul_upper"] = np.inf, np.float32(0.9999 * CAP - 1e-4)
    assert compare(other, said, SPLIT, features(0.1), CALIBRATION).max_abs_error == pytest.approx(1e-4, rel=0.1)
    other.loc[100, "rul_upper"] = 0.99 * CAP
    with pytest.raises(ParityError, match="the worst is rul_upper"):
        compare(other, said, SPLIT, features(0.1), CALIBRATION)


def test_a_row_on_a_split_is_excused_and_many_are_not(said):
    other, X = said.copy(), features(0.1)
    other.loc[:1, "rul"] += 5
    X[:2] = np.nextafter(np.float32(0.5), np.float32(1))
    made = compare(other, said, SPLIT, X, CALIBRATION)
    assert made.within_1e_3 == made.within_tolerance == 1 - 2 / ROWS
    with pytest.raises(ParityError, match="2 of them on no tree split"):
        compare(other, said, SPLIT, features(0.501), CALIBRATION)
    other.loc[:2, "rul"] += 5  # three of 20,000 are more than 0.01 %
    X[:3] = 0.5
    with pytest.raises(ParityError, match="0 of them on no tree split"):
        compare(other, said, SPLIT, X, CALIBRATION)


def test_other_rows_are_no_match(said):
    with pytest.raises(ParityError, match="dvc repro"):
        compare(said[:-1], said, SPLIT, features(0.1), CALIBRATION)
    with pytest.raises(ParityError, match="dvc repro"):
        compare(said.assign(row=said.row + 1), said, SPLIT, features(0.1), CALIBRATION)


def test_long_lives_are_compared_to_float32_digits():
    assert life_tolerance(125) == pytest.approx(1.25e-3)
    assert life_tolerance(10) == 1e-3
    assert life_tolerance(1e6) == 10


def test_the_worse_of_two():
    a, b = Parity(10, 1e-4, 2e-6, 1.0, 1.0), Parity(5, 2e-4, 1e-6, 0.9, 0.95)
    assert a.worst(b) == Parity(10, 2e-4, 2e-6, 0.9, 0.95)
