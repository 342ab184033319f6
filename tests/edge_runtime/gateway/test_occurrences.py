import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.gateway.occurrences import Occurrences

ASSETS = ("a", "b", "c")
TERMS = np.array([0, 7, 2])


def occurrences():
    return Occurrences(ASSETS, TERMS)


def update(occurrences, rows, levels, number=1, *, warming_up=0.0, event=0.0):
    n = len(rows)
    outputs = {"alarm": np.array(levels, np.float32), "warming_up": np.full(n, warming_up, np.float32)}
    numbers, time = np.full(n, number), np.full(n, number * 10)
    return occurrences.update(np.array(rows), numbers, time, np.full(n, event, np.float32), outputs)


def test_an_occurrence_is_raised_changed_and_cleared_under_one_id():
    active = occurrences()
    assert update(active, [0, 1, 2], [0, 0, 0], 1) == []
    (raised,) = update(active, [2, 1], [0, 2], 5)
    assert (raised.position, raised.asset, raised.before, raised.level) == (1, "b", 0, 2)
    assert raised.occurrence == ("b-7-5", 2, 50, 5, False)
    assert active.counts() == {"2": 1}
    assert update(active, [1], [2], 6) == [], "nothing new"
    (changed,) = update(active, [1], [3], 7)
    assert (changed.before, changed.level, changed.occurrence.id) == (2, 3, "b-7-5")
    (cleared,) = update(active, [0, 1], [0, 0], 8)
    assert (cleared.before, cleared.level, cleared.occurrence.id) == (3, 0, "b-7-5")
    assert active.active == {}
    (again,) = update(active, [1], [1], 9)
    assert again.occurrence.id == "b-7-9"


def test_after_a_change_of_model_level_0_is_no_news_while_warming_up():
    active = occurrences()
    update(active, [0, 1], [2, 1])
    active.hold()
    assert update(active, [0, 1], [0, 0], 2, warming_up=0.8) == []
    assert update(active, [0], [1], 3, warming_up=0.5) == [], "a lower level is as little"
    assert active.counts() == {"1": 1, "2": 1}
    (cleared,) = update(active, [0], [0], 4, warming_up=0.0)
    assert (cleared.asset, cleared.level) == ("a", 0)
    assert len(update(active, [1], [3], 4, warming_up=0.5)) == 1, "what the new model raises is its own"
    (cleared,) = update(active, [1], [0], 5, warming_up=0.5)
    assert cleared.asset == "b", "and its to clear"


def test_a_renewed_machine_is_held_no_longer():
    active = occurrences()
    update(active, [0], [2])
    active.hold()
    (cleared,) = update(active, [0], [0], 2, warming_up=1.0, event=1.0)
    assert cleared.level == 0


def test_a_machine_that_is_gone_is_left_out_of_a_restored_state():
    active = occurrences()
    update(active, [0, 2], [2, 1])
    fewer = Occurrences(("c", "new"), np.zeros(2, np.int64))
    fewer.restore(active.state())
    assert fewer.active.keys() == {"c"}
    assert fewer.counts() == {"1": 1}


_steps = st.lists(
    st.one_of(
        st.just("hold"),
        st.tuples(
            st.lists(st.integers(0, 2), unique=True, min_size=1),
            st.lists(st.integers(0, 3), min_size=3, max_size=3),
            st.sampled_from([0.0, 0.5]),
            st.sampled_from([0.0, 1.0]),
        ),
    ),
    max_size=20,
)


@given(_steps, st.integers(0, 20))
def test_a_checkpoint_and_the_news_after_it_make_the_same_state(steps, checkpoint):
    """And levels told add up: each occurrence goes 0 → … → 0, never to the level it has."""
    active, told, saved = occurrences(), {}, "{}"
    news = []
    for number, step in enumerate(steps, start=1):
        if number == checkpoint:
            saved, news = json.dumps(active.state()), []
        if step == "hold":  # a swap of the model, which makes a checkpoint
            active.hold()
            saved, news = json.dumps(active.state()), []
            continue
        rows, levels, warming_up, event = step
        for change in update(active, rows, levels[: len(rows)], number, warming_up=warming_up, event=event):
            assert told.get(change.asset, 0) == change.before != change.level
            told[change.asset] = change.level
        news.append(json.dumps(active.take_news()))
    again = occurrences()
    for text in [saved, *news]:
        again.restore(json.loads(text))
    assert again.state() == active.state()
    assert again.counts() == active.counts()
    assert {asset: level for asset, level in told.items() if level} == {a: o.level for a, o in active.active.items()}
    again.hold(), active.hold()
    assert update(again, [0, 1, 2], [0, 0, 0], 99) == update(active, [0, 1, 2], [0, 0, 0], 99)
