"""The state: its slices, and which of them an event ends."""

import numpy as np
import pytest

from edge_runtime.contract.event import Event
from features.state import Slice, StateLayout, join

LAYOUT = StateLayout((Slice("of the life", "life", 2), Slice("of the sensor", "sensor", 1), Slice("kept", "asset", 3)))
ZEROED = {Event.NONE: set(), Event.NEW_LIFE: {"of the life"}, Event.SENSOR_REPLACED: {"of the sensor"}}


@pytest.mark.parametrize(("event", "zeroed"), ZEROED.items())
def test_an_event_zeroes_the_slices_of_its_scope_alone(event, zeroed):
    slices = LAYOUT.enter(np.ones((1, 6), np.float32), np.array([event], np.float32))
    assert {name for name, value in slices.items() if not value.any()} == zeroed
    assert {name for name, value in slices.items() if value.all()} == {s.name for s in LAYOUT.slices} - zeroed


def test_an_event_of_one_machine_is_none_of_the_others():
    slices = LAYOUT.enter(np.ones((3, 6), np.float32), np.array([0, Event.NEW_LIFE, 0], np.float32))
    assert slices["of the life"].tolist() == [[1, 1], [0, 0], [1, 1]]


def test_leaving_undoes_entering():
    state = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    slices = LAYOUT.enter(state, np.zeros(4, np.float32))
    assert {name: value.shape[1] for name, value in slices.items()} == {s.name: s.size for s in LAYOUT.slices}
    np.testing.assert_array_equal(LAYOUT.leave(dict(reversed(slices.items()))), state)


def test_what_is_not_a_number_ends_with_its_life():
    state = np.full((1, 6), np.nan, np.float32)
    assert not LAYOUT.enter(state, np.ones(1, np.float32))["of the life"].any()


def test_join_keeps_the_order():
    more = Slice("more", "asset", 4)
    layout = join(LAYOUT.slices, [more])
    assert layout.slices == (*LAYOUT.slices, more)
    assert layout.size == 10
