"""Parameters survive being stored."""

from dataclasses import fields, replace

import numpy as np

from features.parameters import Parameters, unfitted
from features.step import FeatureStep
from tests.features.machines import CLASSES, advance, parameters, stream


def test_what_is_saved_is_loaded(tmp_path):
    made = replace(parameters(CLASSES["set points held"], regimes=3), notes=("too few healthy rows",))
    made.save(tmp_path / "parameters.npz")
    again = Parameters.load(tmp_path / "parameters.npz")
    for field in fields(Parameters):
        before, after = getattr(made, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == np.float32
            np.testing.assert_array_equal(after, before)
        else:
            assert after == before, field.name
            assert type(after) is type(before), field.name


def test_before_fitting_a_normalised_reading_is_the_reading():
    cls = CLASSES["set points held"]
    step = FeatureStep(cls, unfitted(("water", "oil"), 2))
    inputs = next(stream(cls, 1, 1))
    inputs["readings"] = np.float32([[50, 50, 21, 34]])  # speed, load, oil, water
    features, _ = advance(step, inputs, np.zeros((1, step.layout.size), np.float32))
    assert features.vector[0, :2].tolist() == [34, 21]
    assert features.values.tolist() == [[34, 21]]
