from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.sources.modbus.polling import Schedule, halves, join

ITEMS = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 4)), max_size=60)


def place(item):
    return item


@given(ITEMS, st.integers(0, 124), st.integers(4, 125))
def test_requests_hold_every_item_once_and_nothing_forbidden(items, gap, most):
    spans = join(items, place, gap, most)
    assert sorted(item for span in spans for item in span.items) == sorted(items)
    for span in spans:
        assert span.count <= most
        places = {p for start, count in span.items for p in range(start, start + count)}
        assert (min(places), max(places) + 1) == (span.start, span.start + span.count)
        unwanted = run = 0
        for p in range(span.start, span.start + span.count):
            run = 0 if p in places else run + 1
            unwanted = max(unwanted, run)
        assert unwanted <= gap


@given(ITEMS.filter(bool))
def test_halves_lead_down_to_single_items(items):
    waiting, single = join(items, place, 124, 600), []
    while waiting:
        span = waiting.pop()
        if len(span.items) == 1:
            single += span.items
            assert (span.start, span.count) == span.items[0]
        else:
            waiting += halves(span, place)
    assert sorted(single) == sorted(items)


@given(
    st.integers(1, 10**9), st.integers(0, 10**12), st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)))
)
def test_polls_stay_on_their_grid_and_each_missed_one_is_counted(every, start, story):
    schedule = Schedule(every, start)
    now, missed = start, 0
    for polled, (early, late) in enumerate(story, start=1):
        now = max(now, schedule.due - early)  # woken early, the caller waits for `due`
        now = max(now, schedule.due) + late
        missed += schedule.polled(now)
        assert schedule.due > now
        assert schedule.due - now <= every
        assert schedule.due == start + (polled + missed) * every
