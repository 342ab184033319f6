"""What is on its way: bounded, sent again until acknowledged, and never stuck behind one message."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import Lane, Outgoing, Spooled
from edge_runtime.upstream.window import Window

SECOND = 1_000_000_000


def message(seq, size=10, lane=Lane.LIVE):
    return Spooled(1, seq, Outgoing("observation", lane, None, seq, seq, b"x" * size))


def window(messages=4, size=1000, **changes):
    return Window(messages, size, **({"patience": 30 * SECOND, "overtaken": 2 * SECOND} | changes))


def filled(count, **changes):
    sent = window(messages=count, **changes)
    for seq in range(1, count + 1):
        sent.add(message(seq), 0)
    return sent


def repeat_all(sent, now):
    seqs = []
    while (again := sent.first_to_repeat()) is not None:
        sent.repeated(again.seq, now)
        seqs.append(again.seq)
    return seqs


def test_it_is_bounded_in_messages_and_in_bytes_but_takes_one_of_any_size():
    sent = window(messages=2, size=15)
    assert sent.has_room(99)
    sent.add(message(1, 10), 0)
    assert sent.has_room(5)
    assert not sent.has_room(6)
    sent.add(message(2, 5), 0)
    assert not sent.has_room()
    assert sent.acknowledge(1, [], 0)[0] == [message(1, 10)]
    assert sent.has_room(10)
    assert sent.size == 5


def test_ranges_acknowledge_what_came_after_a_hole():
    sent = filled(5)
    delivered, hopeless = sent.acknowledge(1, [(3, 3), (5, 9)], SECOND)
    assert [m.seq for m in delivered] == [1, 3, 5]
    assert [m.seq for m in sent] == [2, 4]
    assert not hopeless


def test_all_that_is_not_acknowledged_goes_again_after_a_reconnect_in_order():
    sent = filled(3)
    sent.acknowledge(0, [(2, 2)], 0)
    sent.disconnected()
    assert repeat_all(sent, SECOND) == [1, 3]
    assert sent.first_to_repeat() is None


def test_silence_of_the_centre_is_answered_less_and_less_often():
    sent = filled(1)
    times = []
    for second in range(0, 1000, 10):
        sent.check_time(second * SECOND)
        if repeat_all(sent, second * SECOND):
            times.append(second)
    assert times == [30, 90, 210, 450, 930]


def test_after_an_acknowledgement_patience_is_short_again():
    sent = filled(2)
    for second in (30, 90):
        sent.check_time(second * SECOND)
        repeat_all(sent, second * SECOND)
    sent.acknowledge(1, [], 91 * SECOND)
    sent.check_time(119 * SECOND)
    assert not repeat_all(sent, 119 * SECOND)
    sent.check_time(120 * SECOND)
    assert repeat_all(sent, 120 * SECOND) == [2]


def test_an_answer_that_says_nothing_new_does_not_shorten_patience():
    """A slow centre answers each repetition: repeating at the same pace for that would make it slower and slower."""
    sent, times = filled(2), []
    sent.acknowledge(1, [], 0)
    for second in range(0, 1000, 10):
        sent.acknowledge(1, [], second * SECOND)
        sent.check_time(second * SECOND)
        if repeat_all(sent, second * SECOND):
            times.append(second)
    assert times == [30, 90, 210, 450, 930]


def test_what_is_overtaken_goes_again_at_once_but_not_before_it_had_time_to_arrive():
    sent = filled(4)
    sent.acknowledge(0, [(3, 3)], SECOND)
    assert repeat_all(sent, SECOND) == []
    sent.acknowledge(0, [(4, 4)], 2 * SECOND)
    assert repeat_all(sent, 2 * SECOND) == [1, 2]


def test_what_the_centre_never_takes_is_given_up_and_holds_nothing_back():
    sent = filled(1, tries=3)
    for seq, repeated, given_up in ((2, [1], []), (3, [], []), (4, [1], []), (5, [], [1])):
        sent.add(message(seq), 3 * seq * SECOND)
        delivered, hopeless = sent.acknowledge(0, [(seq, seq)], (3 * seq + 2) * SECOND)
        assert [m.seq for m in delivered] == [seq]
        assert [m.seq for m in hopeless] == given_up
        assert repeat_all(sent, (3 * seq + 2) * SECOND) == repeated
    assert len(sent) == 0
    assert sent.size == 0


def test_what_was_lost_together_with_many_acknowledgements_is_not_given_up():
    """The centre was silent for long and had all but the first: it says so now, once."""
    sent = filled(4, tries=3)
    for second in range(0, 5000, 100):
        sent.check_time(second * SECOND)
        repeat_all(sent, second * SECOND)
    assert sent.acknowledge(0, [(2, 4)], 5000 * SECOND)[1] == []
    assert repeat_all(sent, 5000 * SECOND) == [1]


def test_without_later_acknowledgements_nothing_is_given_up():
    sent = filled(1, tries=2)
    for second in range(0, 5000, 100):
        sent.check_time(second * SECOND)
        repeat_all(sent, second * SECOND)
        assert sent.acknowledge(0, [], second * SECOND) == ([], [])
    assert [m.seq for m in sent] == [1]


def test_what_the_broker_refuses_twice_is_given_up_if_it_takes_others():
    sent = filled(3)
    assert sent.refuse(1, taken=5) is None
    sent.check_time(30 * SECOND)
    assert repeat_all(sent, 30 * SECOND) == [2, 3, 1]
    assert sent.refuse(1, taken=6) == message(1)
    assert sent.refuse(1, taken=7) is None
    assert [m.seq for m in sent] == [2, 3]


def test_what_the_broker_refused_is_the_last_on_the_next_connection():
    sent = filled(3)
    sent.refuse(1, taken=0)
    sent.disconnected()
    assert repeat_all(sent, SECOND) == [2, 3, 1]


def test_a_broker_that_takes_nothing_at_all_makes_nothing_be_given_up():
    sent = filled(2)
    for _ in range(10):
        assert sent.refuse(1, taken=5) is None
        assert sent.refuse(2, taken=5) is None
    assert sent.refuse(2, taken=6) == message(2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "ack", "range", "lost", "wait", "repeat"]), st.integers(0, 40))))
def test_a_message_is_either_on_its_way_or_delivered_once(steps):
    sent = Window(8, 60, 30 * SECOND, overtaken=2 * SECOND, tries=10**6)
    now, seq, delivered, on_the_way = 0, 0, set(), set()
    for what, number in steps:
        now += SECOND
        if what == "add" and sent.has_room(number):
            seq += 1
            sent.add(message(seq, number), now)
            on_the_way.add(seq)
        elif what in ("ack", "range"):
            upto, ranges = (number, []) if what == "ack" else (0, [(number, number + 2)])
            done, _ = sent.acknowledge(upto, ranges, now)
            for one in done:
                assert one.seq not in delivered
                delivered.add(one.seq)
                on_the_way.remove(one.seq)
        elif what == "lost":
            sent.disconnected()
            assert repeat_all(sent, now) == sorted(on_the_way)
        elif what == "wait":
            now += number * SECOND
            sent.check_time(now)
        else:
            assert set(repeat_all(sent, now)) <= on_the_way
        assert {m.seq for m in sent} == on_the_way
        assert sent.size == sum(len(m.message.body) for m in sent)
        assert len(sent) <= 8
        assert sent.size <= 60 or len(sent) == 1
