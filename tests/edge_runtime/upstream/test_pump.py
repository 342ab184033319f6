"""What goes next and what becomes of it, against a broker and a centre played by the test."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.acks import Acknowledgement, AckTracker, LaneAck
from edge_runtime.contract.message import JSON, Lane, Outgoing, Spooled
from edge_runtime.contract.topics import parse
from edge_runtime.contract.wire import decode
from edge_runtime.upstream.blocks import BlockBuilder, BlockSettings
from edge_runtime.upstream.dead_letters import DeadLetters
from edge_runtime.upstream.pump import NO_SUBSCRIBER, Bounds, Pump
from tests.edge_runtime.upstream.made import CHANNELS, SECOND, batch, outputs
from tests.edge_runtime.upstream.station import GATEWAY, SITE, event

EPOCH = 7
DENIED = 0x87


class World:
    """A spool in memory, a clock that is turned by hand, a broker that notes what it gets."""

    def __init__(self, path, **options):
        self.now, self.path = 0, path
        self.spool = {lane: {} for lane in Lane}
        self.last, self.floors = dict.fromkeys(Lane, 0), dict.fromkeys(Lane, 1)
        self.sent, self.mid, self.full = [], 0, False
        self.respooled = []
        bounds = Bounds(**({"messages": 8, "bytes": 100_000, "bulk": 1 << 20} | options.pop("bounds", {})))
        self.dead = DeadLetters(path, self)
        self.pump = Pump(SITE, GATEWAY, EPOCH, self, self, self.dead, self.send, self.respool, bounds=bounds, **options)

    # The clock.
    def monotonic(self):
        return self.now

    def utc(self):
        return self.now

    # The journal.
    def read(self, lane, after, limit, max_bytes):
        assert max_bytes > 0
        return [message for seq, message in sorted(self.spool[lane].items()) if seq > after][:limit]

    def floor(self, lane):
        return self.floors[lane]

    def acknowledge(self, epoch, lane, upto, ranges):
        assert epoch == EPOCH
        for seq in list(self.spool[lane]):
            if seq <= upto or any(a <= seq <= b for a, b in ranges):
                del self.spool[lane][seq]

    def commit(self, *messages):
        spooled = []
        for message in messages:
            self.last[message.lane] += 1
            spooled.append(Spooled(EPOCH, self.last[message.lane], message))
            self.spool[message.lane][self.last[message.lane]] = spooled[-1]
        self.pump.committed(spooled)

    def respool(self, messages):
        self.respooled.append(messages)
        return not self.full

    # The broker.
    def send(self, topic, content, payload):
        self.mid += 1
        self.sent.append((self.mid, parse(topic).kind, decode(content, payload).envelope))
        return self.mid

    def connect(self, maximum_packet=1 << 20, receive_maximum=100):
        self.pump.connected(maximum_packet, receive_maximum)

    def take(self):
        """What was sent since the last call: (lane, seq)."""
        found = [(envelope.order, envelope.seq) for _, _, envelope in self.sent]
        self.flying, self.sent = self.sent, []
        return found

    def confirm(self, reason=0):
        for mid, *_ in self.flying:
            self.pump.confirmed(mid, reason)

    def work(self):
        self.pump.work()
        return self.take()

    def ack(self, lane, upto, *ranges, epoch=EPOCH):
        self.pump.acknowledged(Acknowledgement(epoch, {lane: LaneAck(upto, ranges)}))

    def dead_letters(self):
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute("SELECT lane, seq, reason FROM dead_letters").fetchall()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "dead.db")
    yield world
    world.dead.close()


def block(rows=40, lane=Lane.LIVE):
    random = np.random.default_rng(0)
    builder = BlockBuilder("tiny", "m", CHANNELS, [f"m{i}" for i in range(rows)], BlockSettings(bytes=1 << 20))
    one = batch(range(rows), SECOND, random=random)
    builder.add(1, one, np.zeros(rows, np.int64), np.ones(rows, np.int64), outputs(rows, random=random), 0)
    return builder.flush(lane)[1]


def test_lanes_go_in_their_order_and_nothing_goes_without_a_connection(world):
    world.commit(
        *(event(i, lane) for i, lane in enumerate([Lane.RAW, Lane.BACKFILL, Lane.LIVE, Lane.ALARM, Lane.LIVE]))
    )
    assert world.work() == []
    world.connect()
    assert world.work() == [(Lane.ALARM, 1), (Lane.LIVE, 1), (Lane.LIVE, 2), (Lane.BACKFILL, 1), (Lane.RAW, 1)]
    world.commit(event(9, Lane.ALARM))
    assert world.work() == [(Lane.ALARM, 2)]


def test_a_full_window_of_one_lane_holds_no_other_back(world):
    world.connect()
    world.commit(*(event(i) for i in range(20)), event(99, Lane.BACKFILL))
    assert world.work() == [*((Lane.LIVE, seq) for seq in range(1, 9)), (Lane.BACKFILL, 1)]
    world.ack(Lane.LIVE, 3)
    assert world.work() == [(Lane.LIVE, 9), (Lane.LIVE, 10), (Lane.LIVE, 11)]


def test_bulk_waits_for_the_broker_so_that_an_alarm_need_not_wait_for_bulk(tmp_path):
    world = World(tmp_path / "dead.db", bounds={"bulk": 500})
    world.connect()
    world.commit(*(event(i, Lane.BACKFILL, "x" * 300) for i in range(5)))
    assert world.work() == [(Lane.BACKFILL, 1)]
    world.commit(event(9, Lane.ALARM, "x" * 300))
    assert world.work() == [(Lane.ALARM, 1)]
    world.pump.confirmed(1, 0)
    assert world.work() == [(Lane.BACKFILL, 2)]


def test_the_broker_is_not_given_more_than_it_can_hold(world):
    world.connect(receive_maximum=3)
    world.commit(*(event(i) for i in range(5)))
    assert len(world.work()) == 3
    world.confirm()
    assert len(world.work()) == 2


def test_an_acknowledgement_of_what_was_never_sent_is_not_believed(world):
    world.connect(receive_maximum=2)
    world.commit(*(event(i) for i in range(5)))
    world.work()
    world.ack(Lane.LIVE, 5)
    assert sorted(world.spool[Lane.LIVE]) == [3, 4, 5]
    world.ack(Lane.LIVE, 0, (2, 5), epoch=EPOCH + 1)
    world.ack(Lane.RAW, 10**9)
    world.ack(Lane.LIVE, 0, (4, 10**12))
    assert sorted(world.spool[Lane.LIVE]) == [3, 4, 5]
    assert (world.pump.counts["ack_ahead"], world.pump.counts["ack_other_epoch"]) == (3, 1)


def test_the_floor_tells_what_will_not_come_any_more(world):
    world.connect()
    world.commit(*(event(i) for i in range(4)))
    world.work()
    assert [e.floor for *_, e in world.flying] == [1, 1, 1, 1]
    world.ack(Lane.LIVE, 1, (3, 3))
    world.commit(event(9))
    world.work()
    assert [e.floor for *_, e in world.flying] == [2]
    world.ack(Lane.LIVE, 5)
    world.commit(*(event(i) for i in range(10, 13)))
    world.floors[Lane.LIVE] = 8  # the spool has dropped all before
    assert world.work() == [(Lane.LIVE, 8)]
    assert [e.floor for *_, e in world.flying] == [8]


def test_what_was_on_its_way_when_the_spool_dropped_it_is_sent_until_it_arrives(world):
    world.connect()
    world.commit(*(event(i) for i in range(3)))
    assert len(world.work()) == 3
    world.spool[Lane.LIVE].clear()
    world.floors[Lane.LIVE] = 4
    world.commit(event(9))
    assert world.work() == [(Lane.LIVE, 4)]
    assert [e.floor for *_, e in world.flying] == [1]  # or the centre took the others for done
    world.pump.disconnected()
    world.connect()
    for seq in (1, 2, 3, 4):  # one at a time: any of them may have ended the connection
        assert world.work()[:1] == [(Lane.LIVE, seq)]
        world.confirm()


def test_what_the_broker_confirmed_is_still_kept_and_sent_again(world):
    world.connect()
    world.commit(event(1))
    world.work()
    world.confirm()
    world.pump.disconnected()
    world.connect()
    assert world.work() == [(Lane.LIVE, 1)]
    world.now += 30 * SECOND
    assert world.work() == [(Lane.LIVE, 1)]
    assert world.spool[Lane.LIVE]


def test_delivery_by_the_broker_ends_with_its_confirmation_if_somebody_listens(tmp_path):
    world = World(tmp_path / "dead.db", by_broker=True)
    world.connect()
    world.commit(event(1))
    world.work()
    world.confirm(NO_SUBSCRIBER)
    assert world.spool[Lane.LIVE]
    world.now += 30 * SECOND
    assert world.work() == [(Lane.LIVE, 1)]
    world.confirm()
    assert not world.spool[Lane.LIVE]


def test_what_cannot_be_encoded_is_put_away_and_the_next_one_goes(world):
    world.connect()
    world.commit(Outgoing("rumour", Lane.ALARM, None, 1, 1, b"{}", JSON), event(1, Lane.ALARM))
    assert world.work() == [(Lane.ALARM, 2)]
    assert [row[:2] for row in world.dead_letters()] == [("alarm", 1)]
    assert sorted(world.spool[Lane.ALARM]) == [2]


def test_what_the_broker_denies_twice_is_put_away_though_not_while_it_denies_everything(world):
    world.connect()
    world.commit(event(1), event(2))
    for _ in range(4):
        assert world.work() == [(Lane.LIVE, 1), (Lane.LIVE, 2)]
        world.confirm(DENIED)
        world.now += 1000 * SECOND
    world.work()
    (first, *_), (second, *_) = world.flying
    world.pump.confirmed(first, 0)
    world.pump.confirmed(second, DENIED)
    assert world.dead_letters() == [("live", 2, "refused by the broker, reason 0x87")]
    assert sorted(world.spool[Lane.LIVE]) == [1]


def test_a_block_too_large_for_the_broker_is_replaced_by_pieces(world):
    world.connect(maximum_packet=4096)
    whole = block(rows=200)
    world.commit(whole, event(1))
    assert world.work() == [(Lane.LIVE, 2)]
    assert sorted(world.spool[Lane.LIVE]) == [1, 2]  # until the pieces are committed
    (pieces,) = world.respooled
    world.commit(*pieces)
    assert world.work() == [(Lane.LIVE, seq) for seq in range(3, 3 + len(pieces))]
    assert 1 not in world.spool[Lane.LIVE]
    assert all(envelope.floor == 2 for *_, envelope in world.flying)
    assert world.pump.counts["split"] == 1


def test_pieces_may_be_committed_before_anybody_looks(world):
    world.connect(maximum_packet=4096)
    world.pump._respool = lambda messages: world.commit(*messages) or True
    world.commit(block(rows=200))
    world.work()
    world.work()
    assert 1 not in world.spool[Lane.LIVE]
    assert len(world.spool[Lane.LIVE]) >= 2


def test_pieces_that_the_spool_dropped_with_all_before_them_hold_no_floor(world):
    world.connect(maximum_packet=4096)
    world.commit(block(rows=200), event(1))
    world.work()
    (pieces,) = world.respooled
    world.last[Lane.LIVE] += len(pieces)  # the spool is over its limit: committed, and dropped at once
    world.spool[Lane.LIVE].clear()
    world.floors[Lane.LIVE] = world.last[Lane.LIVE] + 1
    world.ack(Lane.LIVE, 2)
    world.commit(event(2))
    world.work()
    assert [e.floor for *_, e in world.flying] == [world.last[Lane.LIVE]]
    assert not world.pump._split
    assert not world.pump._splitting[Lane.LIVE]


def test_while_pieces_cannot_be_committed_the_lane_waits(world):
    world.connect(maximum_packet=4096)
    world.full = True
    world.commit(block(rows=200))
    assert world.work() == []
    world.full = False
    world.work()
    assert len(world.respooled) == 2


def test_a_message_at_which_the_broker_hangs_up_is_found_and_put_away(world):
    world.commit(event(1), event(2, detail="x" * 2000), event(3))
    connections = 0
    while world.spool[Lane.LIVE].keys() & {2}:
        connections += 1
        world.connect()
        world.pump.proven()
        while (sent := world.work()) and (Lane.LIVE, 2) not in sent:
            world.confirm()
        world.pump.disconnected()
    assert connections <= 5
    assert [row[:2] for row in world.dead_letters()] == [("live", 2)]
    assert sorted(world.spool[Lane.LIVE]) == [1, 3]


def test_a_block_at_which_the_broker_hangs_up_is_made_smaller_and_so_are_those_after_it(world):
    world.commit(block(rows=200))
    for _ in range(4):
        world.connect()
        world.pump.proven()
        world.work()
        world.pump.disconnected()
    world.connect()
    world.work()
    world.commit(*world.respooled[0], block(rows=200))
    world.work()
    assert len(world.respooled) == 2
    assert world.pump.counts["dead_letters"] == 0


def test_what_the_centre_had_before_the_broker_confirmed_it_leaves_no_suspicion(world):
    world.connect()
    world.commit(*(event(i) for i in range(3)))
    assert len(world.work()) == 3
    world.ack(Lane.LIVE, 3)
    world.pump.disconnected()
    world.connect()
    world.commit(*(event(i) for i in range(5)))
    assert len(world.work()) == 5, "or messages would go one at a time until a restart"


def test_a_broker_that_only_just_comes_up_makes_nothing_be_given_up(world):
    world.commit(event(1, Lane.ALARM))
    for _ in range(50):
        world.connect()
        assert world.work() == [(Lane.ALARM, 1)]
        world.pump.disconnected()
    assert world.spool[Lane.ALARM]


def test_dead_letters_that_cannot_be_written_now_are_kept(world, monkeypatch):
    world.connect()
    monkeypatch.setattr(world.dead, "_path", world.path.parent / "nowhere" / "dead.db")
    world.commit(Outgoing("rumour", Lane.LIVE, None, 1, 1, b"{}", JSON))
    world.work()
    assert world.spool[Lane.LIVE]
    world.commit(event(1))
    assert world.work() == [(Lane.LIVE, 2)]
    assert [e.floor for *_, e in world.flying] == [1]  # or the centre took it for done, and said so after a restart
    monkeypatch.setattr(world.dead, "_path", world.path)
    world.work()
    assert len(world.dead_letters()) == 1
    assert sorted(world.spool[Lane.LIVE]) == [2]


def test_dead_letters_are_bounded_the_oldest_go(tmp_path, world):
    letters = DeadLetters(tmp_path / "few.db", world, most=2500)
    for seq in range(1, 6):
        world.now = seq
        letters.add(Spooled(1, seq, Outgoing("event", Lane.LIVE, None, 1, 1, b"x" * 1000)), "too large")
    letters.close()
    with closing(sqlite3.connect(tmp_path / "few.db")) as database:
        assert database.execute("SELECT seq FROM dead_letters").fetchall() == [(4,), (5,)]
    assert letters.dropped == 3


def test_dead_letters_outlive_older_ones_though_the_clock_was_set_back(tmp_path, world):
    letters = DeadLetters(tmp_path / "few.db", world, most=2500)
    for seq in range(1, 6):
        world.now = 100 - seq
        letters.add(Spooled(1, seq, Outgoing("event", Lane.LIVE, None, 1, 1, b"x" * 1000)), "too large")
    letters.close()
    with closing(sqlite3.connect(tmp_path / "few.db")) as database:
        assert database.execute("SELECT seq FROM dead_letters ORDER BY seq").fetchall() == [(4,), (5,)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["spool", "work", "lose", "arrive", "unconfirmed", "ack", "cut", "connect", "time", "drop"]),
        st.sampled_from(Lane),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(STEPS)
@settings(deadline=None)
def test_whatever_is_lost_on_the_way_everything_arrives_in_the_end(tmp_path_factory, steps):
    world = World(tmp_path_factory.mktemp("pump") / "dead.db")
    centre, arrived, flying, dropped = AckTracker(), set(), [], set()

    def arrive(count, confirm=True):
        """The centre commits the first `count` of what is flying, perhaps before the broker confirms it."""
        for mid, _, envelope in flying[:count]:
            arrived.add((envelope.order, envelope.seq))
            centre.commit(envelope.epoch, envelope.order, envelope.seq, envelope.floor)
            if confirm:
                world.pump.confirmed(mid, 0)
        del flying[:count]

    def acknowledge():
        for ack in centre.state():
            world.pump.acknowledged(ack)

    connected = False
    for what, lane, number in steps:
        if what == "spool":
            world.commit(*(event(i, lane) for i in range(number)))
        elif what == "lose":
            del flying[:number]
        elif what == "arrive":
            arrive(number)
        elif what == "unconfirmed":
            arrive(number, confirm=False)
        elif what == "ack":
            acknowledge()
        elif what == "cut":
            world.pump.disconnected()
            flying, connected = [], False
        elif what == "connect" and not connected:
            world.connect()
            connected = True
        elif what == "time":
            world.now += number * SECOND
        elif what == "drop":
            for seq in sorted(world.spool[lane])[:number]:
                del world.spool[lane][seq]
                dropped.add((lane, seq))
                world.floors[lane] = seq + 1
        world.pump.work()
        flying += world.sent
        world.sent = []
    world.pump.disconnected()
    flying = []
    world.connect()
    for _ in range(100):
        world.pump.work()
        flying += world.sent
        world.sent = []
        arrive(len(flying))
        acknowledge()
        world.now += 31 * SECOND
    everything = {(lane, seq) for lane in Lane for seq in range(1, world.last[lane] + 1)}
    assert arrived | dropped == everything
    assert not any(world.spool.values())
    assert world.pump.outstanding == 0
    assert world.pump.counts["dead_letters"] == 0
    world.commit(*(event(i) for i in range(5)))
    assert len(world.work()) == 5, "nothing is under suspicion any more"
    world.dead.close()
