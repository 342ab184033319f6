import random

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.sources.backoff import Backoff


class Clock:
    def __init__(self):
        self.now = 0

    def monotonic(self):
        return self.now

    def utc(self):
        return self.now


class Most:
    def uniform(self, a, b):
        return max(a, b)


def test_waits_double_up_to_the_most():
    backoff = Backoff(Clock(), first=1, most=10, random=Most())
    assert [backoff.failed() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_a_connection_that_held_starts_anew():
    clock = Clock()
    backoff = Backoff(clock, first=1, most=10, random=Most())
    for _ in range(3):
        backoff.failed()
    backoff.worked()
    clock.now += 4_000_000_000
    backoff.worked()
    assert backoff.failed() == 1


def test_a_connection_that_is_dropped_at_once_does_not():
    clock = Clock()
    backoff = Backoff(clock, first=1, most=10, random=Most())
    for wait in (1, 2, 4, 8, 10):
        assert backoff.failed() == wait
        clock.now += int(wait * 1e9)
        backoff.worked()
        clock.now += 1_000_000


def test_a_first_connection_that_breaks_is_tried_soon():
    backoff = Backoff(Clock(), first=1, most=10, random=Most())
    backoff.worked()
    assert backoff.failed() == 1


@given(st.integers(), st.lists(st.tuples(st.booleans(), st.integers(0, 10**12)), max_size=200))
def test_waits_stay_within_bounds_whatever_happens(seed, story):
    clock = Clock()
    backoff = Backoff(clock, first=0.5, most=60, random=random.Random(seed))
    for worked, passed in story:
        if worked:
            backoff.worked()
        clock.now += passed
        assert 0.25 <= backoff.failed() <= 60


def test_two_gateways_do_not_wait_alike():
    clock = Clock()
    waits = {Backoff(clock).failed() for _ in range(50)}
    assert len(waits) > 40
