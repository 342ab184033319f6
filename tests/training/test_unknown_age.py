"""Machines whose age and beginning are withheld."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from edge_runtime.contract.event import Event
from edge_runtime.replay import Series
from features.history import History
from training.unknown_age import of_first_lives, stripped


def history(event, pieces):
    """One machine, read in `pieces`, with an age all along."""
    event = np.array(event, np.float32)
    time = np.arange(len(event), dtype=np.int64)
    whole = Series(time, time[:, None].astype(np.float32), event, time.astype(np.float32))
    bounds = np.linspace(0, len(event), pieces + 1).astype(int)
    parts = [whole.part(a, b) for a, b in pairwise(bounds)]
    return History(["a"], {"a": len(event)}, {"a": parts}, np.zeros((1, 0), np.float32))


@pytest.mark.parametrize("pieces", [1, 2, 3, 9])
@pytest.mark.parametrize(
    ("event", "first_life"),
    [
        ([1, 0, 0, 0, 0, 0, 0, 0, 0], 9),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], 9),
        ([1, 0, 2, 0, 1, 0, 0, 1, 0], 4),
        ([0, 1, 0, 0, 0, 0, 0, 0, 0], 1),
    ],
)
def test_the_first_life_is_left_and_nobody_knows_its_age(event, first_life, pieces):
    series = stripped(history(event, pieces)).series["a"]
    for _ in range(2):  # can be read more than once
        parts = list(series)
        time = np.concatenate([part.time for part in parts])
        assert time.tolist() == list(range(first_life))
        assert np.isnan(np.concatenate([part.age for part in parts])).all()
        events = np.concatenate([part.event for part in parts])
        assert events.tolist() == [e if e == Event.SENSOR_REPLACED else 0 for e in event[:first_life]]


def test_what_is_said_of_them_takes_the_place_of_the_rest():
    table = pd.DataFrame({"life": [0, 1, 0], "rul": [1.0, 2.0, 3.0], "unknown_age.rul": [4.0, 5.0, 6.0]})
    said = of_first_lives(table)
    assert said.rul.tolist() == [4.0, 6.0]
    assert said.index.tolist() == [0, 2]
