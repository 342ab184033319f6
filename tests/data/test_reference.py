"""Values are counted where they belong, and a reference comes back from its file."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data import reference
from data.reference import Reference, Variable, load, measured, split_readings

VALUES = hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32))


@given(VALUES, VALUES)
def test_every_finite_value_is_in_one_bin(learned, values):
    variable = measured("x", "reading", learned)
    assert list(variable.edges) == sorted(set(variable.edges))
    counts = variable.count(values)
    assert (counts.sum(), len(counts)) == (np.isfinite(values).sum(), variable.bins)
    for value in values[np.isfinite(values)]:
        bin_ = sum(float(value) >= edge for edge in variable.edges)
        assert counts[bin_] > 0


def test_what_hardly_varies_has_bins_below_at_and_above():
    variable = measured("mains", "reading", np.full(100, 400.1, np.float32))
    below, at, above = (variable.count(np.array([value], np.float32)).tolist() for value in (400, 400.1, 400.2))
    assert (below, at, above) == ([1, 0, 0], [0, 1, 0], [0, 0, 1])


def test_readings_are_in_range_missing_or_out_of_range():
    readings = np.array([[1, np.nan], [5, -1], [np.inf, 2]], np.float32)
    values, how = split_readings(readings, [(0, 4), (0, 4)])
    np.testing.assert_array_equal(values, np.array([[1, np.nan], [np.nan, np.nan], [np.nan, 2]], np.float32))
    assert how.tolist() == [[0, 1], [2, 2], [2, 0]]


def test_prognoses_count_after_the_warm_up():
    outputs = {name: np.zeros(3) for name in reference.OUTPUTS} | {"warming_up": np.array([1, 0.1, 0])}
    outputs["alarm"] = np.array([3, 3, 2])
    variables = {name: measured(name, "prognosis", np.zeros(1)) for name in reference.MEASURED}
    variables |= {name: reference.counted(name) for name in reference.COUNTED}
    assert reference.count_prognoses(variables, outputs)["alarm"].tolist() == [0, 0, 1, 0]


def test_a_reference_comes_back_from_its_file():
    variable = Variable("x", "reading", (0.1, float(np.float32(0.2))))
    made = Reference(42.0, ("m1", "m2"), (variable,), {"x": np.arange(24).reshape(2, 4, 3)})
    found = load(made.dump())
    assert (found.window, found.machines, found.variables) == (made.window, made.machines, made.variables)
    np.testing.assert_array_equal(found.counts["x"], made.counts["x"])


@pytest.mark.parametrize(
    ("change", "says"),
    [({"format": 2}, "format is 2"), ({"machines": []}, "have shape"), ({"counts": {}}, "not complete")],
)
def test_what_is_no_reference_is_refused(change, says):
    variable = Variable("x", "reading", (0.1,))
    made = Reference(42.0, ("m1",), (variable,), {"x": np.zeros((1, 4, 2), np.int64)})
    with pytest.raises(ValueError, match=says):
        load(json.dumps({**json.loads(made.dump()), **change}).encode())
