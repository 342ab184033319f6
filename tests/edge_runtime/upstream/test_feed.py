"""Each committed message once and in order, whether the link keeps up or reads a week's backlog page by page."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import Lane
from edge_runtime.upstream.feed import Feed
from tests.edge_runtime.upstream.test_window import message


class Table:
    """Committed messages, as the spool's table has them."""

    def __init__(self):
        self.messages, self.reads, self.broken, self.lowest = [], 0, False, 1

    def floor(self, lane):
        assert lane in Lane
        return self.lowest

    def drop(self, upto):
        self.messages, self.lowest = [one for one in self.messages if one.seq > upto], upto + 1

    def read(self, lane, after, limit, max_bytes):
        assert lane in Lane
        if self.broken:
            raise OSError("disk")
        self.reads += 1
        page = []
        for one in self.messages:
            if one.seq > after and len(page) < limit and (not page or len(one.message.body) <= max_bytes):
                page.append(one)
                max_bytes -= len(one.message.body)
        return page


def commit(table, feed, *seqs, size=10):
    for seq in seqs:
        table.messages.append(message(seq, size))
        feed.put(table.messages[-1])


def take_all(feed, most=10**6):
    seqs = []
    while len(seqs) < most and (one := feed.peek()) is not None:
        assert feed.peek() is one
        feed.take(one)
        seqs.append(one.seq)
    return seqs


def test_what_was_spooled_before_the_start_comes_first():
    table = Table()
    table.messages = [message(seq) for seq in range(5, 300)]
    assert take_all(Feed(table, Lane.LIVE)) == list(range(5, 300))


def test_while_it_keeps_up_the_spool_is_not_read():
    table = Table()
    feed = Feed(table, Lane.LIVE)
    assert take_all(feed) == []
    table.reads = 0
    for seq in range(1, 200):
        commit(table, feed, seq)
        assert take_all(feed) == [seq]
    assert table.reads == 0


@pytest.mark.parametrize(("size", "held"), [(10, 64), (100_000, 10)])
def test_a_backlog_is_not_held_in_memory(size, held):
    table = Table()
    feed = Feed(table, Lane.LIVE)
    feed.peek()
    commit(table, feed, *range(1, 500), size=size)
    assert len(feed._fresh) <= held
    assert take_all(feed) == list(range(1, 500))


def test_what_the_spool_has_dropped_is_passed_over():
    table = Table()
    feed = Feed(table, Lane.RAW)
    feed.peek()
    commit(table, feed, *range(1, 100))
    table.drop(50)
    assert take_all(feed) == list(range(51, 100))


def test_so_is_what_the_feed_still_holds_of_it():
    """It is counted as lost: it must not arrive after all."""
    table = Table()
    feed = Feed(table, Lane.BACKFILL)
    commit(table, feed, *range(1, 100))
    assert take_all(feed, 10) == list(range(1, 11))  # the rest of a page of 64 is held
    table.drop(30)
    assert take_all(feed, 10) == list(range(31, 41))
    table.drop(98)
    assert take_all(feed) == [99]
    commit(table, feed, *range(100, 120))  # straight from the commits
    table.drop(110)
    assert take_all(feed) == list(range(111, 120))
    commit(table, feed, 120)
    table.drop(120)
    assert take_all(feed) == []
    commit(table, feed, 121)
    assert take_all(feed) == [121]


def test_a_spool_that_cannot_be_read_now_loses_nothing():
    table = Table()
    feed = Feed(table, Lane.LIVE)
    commit(table, feed, 1, 2)
    table.broken = True
    with pytest.raises(OSError, match="disk"):
        feed.peek()
    table.broken = False
    assert take_all(feed) == [1, 2]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.tuples(st.just("commit"), st.integers(1, 200)), st.tuples(st.just("take"), st.integers(0, 99)))
    )
)
def test_each_message_comes_once_and_in_order(steps):
    table, got, count = Table(), [], 0
    feed = Feed(table, Lane.LIVE, fresh=7, fresh_bytes=100)
    for what, number in steps:
        if what == "commit":
            commit(table, feed, *range(count + 1, count + number + 1))
            count += number
        else:
            got += take_all(feed, number)
    assert got + take_all(feed) == list(range(1, count + 1))


def test_each_message_comes_once_while_another_thread_commits():
    table, got = Table(), []
    feed = Feed(table, Lane.LIVE, fresh=8)
    writer = threading.Thread(target=lambda: [commit(table, feed, seq) for seq in range(1, 3001)])
    writer.start()
    while writer.is_alive():
        got += take_all(feed)
    writer.join()
    assert got + take_all(feed) == list(range(1, 3001))
