"""Whether data is live or a backlog: not at every hiccup, but before the live lane grows old."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.upstream.health import SECOND, Health


class Played:
    """`look` once a second for some seconds; what it says at the end."""

    def __init__(self):
        self.health, self.now = Health(10 * SECOND), 1000 * SECOND

    def look(self, seconds, *, connected=True, outstanding=0, delivered=None, oldest_live=None):
        """`delivered` and `oldest_live`: seconds before now, at the beginning."""
        start = self.now
        for _ in range(seconds):
            self.now += SECOND
            since = [None if ago is None else start - ago * SECOND for ago in (delivered, oldest_live)]
            healthy = self.health.look(self.now, connected, outstanding, *since)
        return healthy


@pytest.fixture
def played():
    made = Played()
    assert made.look(5)
    return made


def test_it_begins_unhealthy_and_trusts_a_connection_that_lasts():
    health = Health(10 * SECOND)
    assert not health.look(0, True, 0, None, None)
    assert not health.look(SECOND - 1, True, 0, None, None)
    assert health.look(SECOND, True, 0, None, None)


def test_a_hiccup_is_no_outage_but_an_outage_is(played):
    assert played.look(3, connected=False)
    assert played.look(1)
    assert played.look(3, connected=False)
    assert not played.look(1, connected=False)
    assert not played.look(1)
    assert played.look(1)


def test_a_centre_that_is_silent_is_away_however_good_the_connection(played):
    assert played.look(14, outstanding=5)
    assert not played.look(8, outstanding=5)


def test_a_centre_that_acknowledges_is_there_however_much_waits(played):
    for _ in range(10):
        assert played.look(10, outstanding=5000, delivered=0)


def test_live_data_that_waits_for_long_makes_a_backlog(played):
    assert played.look(9, outstanding=5, delivered=0, oldest_live=0)
    assert not played.look(5, outstanding=5, delivered=0, oldest_live=9)


def test_after_an_outage_it_waits_for_the_first_acknowledgement(played):
    assert not played.look(60, connected=False, outstanding=5)
    assert not played.look(60, outstanding=5, delivered=100)
    assert played.look(3, outstanding=5, delivered=0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=50))
def test_it_changes_only_after_lasting_trouble_or_peace(phases):
    health, now, run, well_before, before = Health(10 * SECOND), 0, 0, None, False
    for well, seconds in phases:
        for _ in range(seconds):
            now += SECOND // 2
            run = run + 1 if well == well_before else 0
            well_before = well
            healthy = health.look(now, well, 0, None, None)
            if healthy != before:
                assert healthy == well
                assert run * SECOND // 2 >= (SECOND if well else 3 * SECOND)
            before = healthy
