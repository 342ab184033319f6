import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.acks import Acknowledgement, AckTracker, LaneAck, LaneTracker, parse_ack
from edge_runtime.contract.limits import Limits
from edge_runtime.contract.message import Lane
from edge_runtime.errors import MajorError, WireError
from tests.edge_runtime.contract.messages import FUZZ, PATIENT, counts, is_read_or_refused

seqs = st.integers(1, 40)


@st.composite
def lane_acks(draw):
    points = sorted(draw(st.sets(st.integers(0, 2**63 - 1), max_size=9)))
    upto, points = (points[0], points[1:]) if points else (0, [])
    return LaneAck(upto, tuple(zip(points[::2], points[1::2], strict=False)))


acks = st.builds(Acknowledgement, counts, st.dictionaries(st.sampled_from(Lane), lane_acks()))


def covered(ack, most=60):
    return {seq for seq in range(1, most) if seq in ack}


def model_of(commits):
    """What a set of numbers says: all committed, and all below the highest floor."""
    done = {seq for seq, _ in commits}
    floor = max((floor for _, floor in commits), default=1)
    return done | set(range(1, floor))


@PATIENT
@given(st.lists(st.tuples(seqs, st.integers(0, 45)), max_size=40))
def test_ranges_say_what_a_set_would(commits):
    tracker = LaneTracker()
    for i, (seq, floor) in enumerate(commits):
        tracker.commit(seq, floor)
        ack = tracker.ack()  # checks itself: ascending, apart
        expected = model_of(commits[: i + 1])
        assert covered(ack) == {seq for seq in expected if seq < 60}
        assert ack.upto == next(seq for seq in range(0, 60) if seq + 1 not in expected)
        ends = [ack.upto, *(end for pair in ack.ranges for end in pair)]
        assert all(first > last + 1 for last, first in zip(ends[::2], ends[1::2], strict=False)), "they touch"


@PATIENT
@given(st.lists(st.tuples(seqs, st.integers(0, 45)), max_size=20), st.lists(st.tuples(seqs, st.just(0)), max_size=20))
def test_a_tracker_goes_on_from_what_was_stored(before, after):
    first, other = LaneTracker(), LaneTracker()
    for seq, floor in before:
        first.commit(seq, floor)
        other.commit(seq, floor)
    other = LaneTracker(other.ack())
    for seq, floor in after:
        first.commit(seq, floor)
        other.commit(seq, floor)
    assert first.ack() == other.ack()


@given(st.permutations(range(1, 31)))
def test_in_any_order_all_is_contiguous_in_the_end(order):
    tracker = LaneTracker()
    for seq in order:
        tracker.commit(seq)
    assert tracker.ack() == LaneAck(30)


@given(st.lists(seqs, max_size=60), st.integers(1, 4))
def test_a_bounded_tracker_never_says_too_much(order, most):
    tracker = LaneTracker(most=most)
    for seq in order:
        tracker.commit(seq)
    ack = tracker.ack()
    assert len(ack.ranges) <= most
    assert covered(ack) <= set(order)


def test_forgotten_ranges_come_again():
    tracker = LaneTracker(most=2)
    for seq in (9, 7, 5, 3):
        tracker.commit(seq)
    assert tracker.ack() == LaneAck(0, ((3, 3), (5, 5)))
    for seq in (1, 2, 4, 6, 7, 8, 9):
        tracker.commit(seq)
    assert tracker.ack() == LaneAck(9)


def test_an_acknowledgement_has_only_so_many_ranges():
    tracker = LaneTracker()
    for seq in range(2, 802, 2):
        tracker.commit(seq)
    assert len(tracker.ack().ranges) == 256
    assert tracker.ack().ranges[-1] == (512, 512)


def test_what_was_dropped_is_not_waited_for():
    tracker = LaneTracker()
    tracker.commit(3)
    tracker.commit(9, floor=5)
    assert tracker.ack() == LaneAck(4, ((9, 9),))
    tracker.commit(10, floor=9)
    assert tracker.ack() == LaneAck(10)


def test_seqs_within():
    ack = LaneAck(3, ((5, 6), (9, 9)))
    assert [seq for seq in range(-1, 12) if seq in ack] == [1, 2, 3, 5, 6, 9]
    assert "3" not in ack


def test_epochs_and_lanes_apart():
    tracker = AckTracker(epochs=2)
    tracker.commit(50, Lane.LIVE, 1)
    tracker.commit(50, Lane.ALARM, 1)
    tracker.commit(20, Lane.LIVE, 2)  # a clock that had been wrong
    assert tracker.take() == [
        Acknowledgement(50, {Lane.ALARM: LaneAck(1), Lane.LIVE: LaneAck(1)}),
        Acknowledgement(20, {Lane.LIVE: LaneAck(0, ((2, 2),))}),
    ]
    assert tracker.take() == []
    tracker.commit(20, Lane.LIVE, 1)
    tracker.commit(20, Lane.LIVE, 1)
    assert tracker.take() == [Acknowledgement(20, {Lane.LIVE: LaneAck(2)})]
    tracker.commit(60, Lane.RAW, 1)
    assert [ack.epoch for ack in tracker.state()] == [20, 60]
    again = AckTracker(tracker.state(), epochs=2)
    again.commit(20, Lane.LIVE, 3)
    assert again.take() == [Acknowledgement(20, {Lane.LIVE: LaneAck(3)})]
    assert [ack.epoch for ack in again.state()] == [60, 20]


@PATIENT
@given(acks)
def test_acknowledgements_come_back(ack):
    assert parse_ack(ack.pack()) == ack


def test_how_it_looks():
    ack = Acknowledgement(1767225600, {Lane.LIVE: LaneAck(41, ((44, 44), (47, 90)))})
    assert ack.pack() == (
        b'{"schema":"1.0","epoch":1767225600,"lanes":{"live":{"upto":41,"ranges":[[44,44],[47,90]]}}}'
    )


def test_unknown_lanes_and_fields_are_passed_over():
    text = b'{"schema":"1.3","epoch":1,"mood":1,"lanes":{"express":{"upto":9},"raw":{"upto":2,"x":1},"live":{}}}'
    assert parse_ack(text) == Acknowledgement(1, {Lane.RAW: LaneAck(2), Lane.LIVE: LaneAck()})


@pytest.mark.parametrize(
    "text",
    [
        b'{"epoch":1,"lanes":{}}',
        b'{"schema":"1.0","lanes":{}}',
        b'{"schema":"1.0","epoch":-1,"lanes":{}}',
        b'{"schema":"1.0","epoch":true,"lanes":{}}',
        b'{"schema":"1.0","epoch":1}',
        b'{"schema":"1.0","epoch":1,"lanes":[]}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":7}}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":{"upto":-1}}}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":{"upto":1.5}}}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":{"upto":5,"ranges":[[5,6]]}}}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":{"upto":5,"ranges":[[8,7]]}}}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":{"upto":5,"ranges":[[9,9],[7,7]]}}}',
        b'{"schema":"1.0","epoch":1,"lanes":{"live":{"upto":5,"ranges":[[7,8,9]]}}}',
        b"",
    ],
)
def test_what_is_no_acknowledgement(text):
    with pytest.raises(WireError):
        parse_ack(text)


def test_other_majors_and_sizes():
    with pytest.raises(MajorError):
        parse_ack(b'{"schema":"2.0","epoch":1,"lanes":{}}')
    with pytest.raises(WireError, match="size"):
        parse_ack(b'{"schema":"1.0","epoch":1,"lanes":{}}', Limits(json=10))


@FUZZ
@given(acks, st.data())
def test_damaged_acknowledgements_are_read_or_refused(ack, data):
    text = bytearray(ack.pack())
    for _ in range(data.draw(st.integers(0, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from(b'0129.-[]{},:"ex\\ '))
    is_read_or_refused(lambda: parse_ack(bytes(text)), ("json", "schema", "major", "body"))
