"""Letters in groups: bounded, in order, and none left lying."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from serving.hub.inbox import Inbox
from serving.hub.reading import Letter


def letter(size=0, topic=b"t"):
    return Letter(topic, "", bytes(size))


@given(st.lists(st.integers(0, 500), max_size=30), st.integers(1, 8), st.integers(1, 2000))
def test_groups_are_in_order_and_bounded(sizes, most, size):
    inbox = Inbox(1 << 20)
    letters = [letter(each, str(number).encode()) for number, each in enumerate(sizes)]
    for each in letters:
        inbox.put(each)
    found = []
    while group := inbox.take(most, size, 0, 0):
        assert len(group) <= most
        assert len(group) == 1 or sum(len(each.payload) for each in group[:-1]) < size
        found += group
    assert found == letters
    assert (len(inbox), inbox.size) == (0, 0)


def test_full_until_something_is_taken():
    inbox = Inbox(1000)
    inbox.put(letter(500))
    assert not inbox.full
    inbox.put(letter(500))
    assert inbox.full
    inbox.take(1, 1 << 20, 0, 0)
    assert not inbox.full


def test_a_group_waits_for_more():
    inbox = Inbox(1000)
    inbox.put(letter(1))
    threading.Timer(0.05, lambda: inbox.put(letter(2))).start()
    assert len(inbox.take(2, 1 << 20, 20, 20)) == 2


def test_closing_ends_the_wait():
    inbox = Inbox(1000)
    inbox.put(letter(1))
    threading.Timer(0.05, inbox.close).start()
    assert len(inbox.take(5, 1 << 20, 20, 20)) == 1
    assert inbox.full
    assert inbox.take(5, 1 << 20, 20, 20) == []
