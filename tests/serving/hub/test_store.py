"""What gateways send is in the database once, bit by bit, and acknowledged when it is; all else is refused and kept."""

import numpy as np
import pytest
from sqlalchemy import func, select

from edge_runtime.clock import SystemClock
from edge_runtime.contract.acks import LaneAck
from edge_runtime.contract.message import Lane
from edge_runtime.contract.waveform import split
from serving.database import queries
from serving.database.tables import (
    alarm_changes,
    alarms,
    assets,
    command_answers,
    counts,
    dead_letters,
    events,
    messages,
    observations,
    prognoses,
    waveform_parts,
)
from serving.hub.reading import Letter, read
from serving.hub.store import Store
from serving.registry.audit import Act
from serving.registry.owners import assign, gateway_id, register
from serving.registry.settings import RegistrySettings
from tests.serving.hub import made

ACT = Act("test", 1)


@pytest.fixture
def store(database):
    return Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)


@pytest.fixture
def strict(database):
    """A hub that adopts nothing; m1 belongs to gw-7 in term 3."""
    with database.write() as connection:
        register(connection, ACT, "m1", "pump", gateway=made.GATEWAY, term=3)
    return Store(database, RegistrySettings(), SystemClock(), 1 << 20)


@pytest.fixture
def sender():
    return made.Sender()


def rows_of(database, table):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def count(database, name, gateway=made.GATEWAY):
    with database.read() as connection:
        query = select(counts.c.value).where(counts.c.gateway == gateway, counts.c.name == name)
        return connection.execute(query).scalar() or 0


def reasons(database):
    with database.read() as connection:
        return sorted(connection.execute(select(dead_letters.c.reason)).scalars())


def acked(told, lane=Lane.LIVE):
    """What the last acknowledgement of a lane says."""
    return [each.ack.lanes[lane] for each in told if lane in each.ack.lanes][-1]


def test_observations_come_back(database, store, sender):
    sent = made.observations(("m1", "m2"), (1, 2, 3), waveforms=made.snapshots([0, 4]))
    told = store.commit(sender.read(made.block(sent)))
    assert [(each.site, each.gateway, each.ack.epoch) for each in told] == [(made.SITE, made.GATEWAY, made.EPOCH)]
    assert acked(told) == LaneAck(1)
    with database.read() as connection:
        m1, m2 = (queries.find_asset(connection, name) for name in ("m1", "m2"))
        assert (m1.asset_class, m1.gateway, m1.term) == ("pump", made.GATEWAY, 0)
        [found] = queries.read_observations(connection, m2.id)
        assert (found.model_id, found.channels, found.keys.number.tolist()) == ("model-1", made.CHANNELS, [1, 2, 3])
        for name in ("readings", "event", "age"):
            assert getattr(found, name).tobytes() == getattr(sent, name)[3:].tobytes()
        assert found.keys.t.tolist() == sent.keys.t[3:].tolist()
        assert found.keys.t_rx.tolist() == sent.t_rx[3:].tolist()
        [(t, term, number, features)] = queries.read_features(connection, m2.id, "shake")
        assert (t, term, number, features.tolist()) == (sent.keys.t[4], 0, 2, [3, 4, 5])
        [part] = queries.read_observations(connection, m1.id, int(sent.keys.t[1]), int(sent.keys.t[2]))
        assert part.keys.number.tolist() == [2]
        assert list(queries.read_observations(connection, m1.id, 0, 1)) == []


def test_prognoses_come_back_and_the_newest_is_at_hand(database, store, sender):
    sent = made.prognoses(("m1", "m2"), (1, 2, 3), alarm=2)
    store.commit(sender.read(made.block(sent)))
    with database.read() as connection:
        [found] = queries.read_prognoses(connection, 1)
        assert found.outputs.keys() == sent.outputs.keys()
        for name, value in sent.outputs.items():
            assert found.outputs[name].tobytes() == value[:3].tobytes(), name
        newest = queries.read_latest(connection)
        assert sorted(newest) == [1, 2]
        assert newest[2].keys.number.tolist() == [3]
        for name, value in sent.outputs.items():
            assert newest[2].outputs[name].tobytes() == value[5:].tobytes(), name
        assert sorted(queries.read_latest(connection, [2])) == [2]


def test_only_newer_is_latest(database, store, sender):
    store.commit(sender.read(made.block(made.prognoses(numbers=(5,)))))
    store.commit(sender.read(made.block(made.prognoses(numbers=(3, 4)), Lane.BACKFILL)))
    with database.read() as connection:
        assert queries.read_latest(connection)[1].keys.number.tolist() == [5]
        [found] = queries.read_prognoses(connection, 1)
        assert found.keys.number.tolist() == [3, 4, 5]


def test_spans_end_where_the_model_changes(database, store, sender):
    first, second = made.prognoses(numbers=(1, 2)), made.prognoses(numbers=(3,))
    store.commit(sender.read(made.block(first), made.block(second, model_id="model-2")))
    with database.read() as connection:
        spans = [(span.model_id, len(span.keys)) for span in queries.read_prognoses(connection, 1)]
        assert spans == [("model-1", 2), ("model-2", 1)]


def test_summaries_and_states(database, store, sender):
    summary, state = made.summaries(("m1", "m2"), (10, 20)), made.states(("m1",), (5, 9))
    store.commit(sender.read(made.block(summary), made.block(state)))
    with database.read() as connection:
        [found] = queries.read_summaries(connection, 2)
        for name in ("start", "end", "count", "received", "minimum", "mean", "maximum", "alarm", "flags"):
            assert getattr(found, name).tolist() == getattr(summary, name)[2:].tolist(), name
        assert {name: value.tolist() for name, value in found.outputs.items()} == {
            name: value[2:].tolist() for name, value in summary.outputs.items()
        }
        t5, t9 = state.keys.t.tolist()
        assert queries.snapshot_before(connection, 1, t5 - 1) is None
        taken = queries.snapshot_before(connection, 1, t9 - 1)
        assert (taken.number, taken.model_id, taken.asset_class) == (5, "model-1", "pump")
        assert taken.state.tolist() == state.state[0].tolist()
        assert queries.snapshot_before(connection, 1, t9).number == 9
        assert queries.snapshot_before(connection, 1, t9, "model-2") is None


def test_alarms_and_their_changes(database, store, sender):
    raised, worse, gone = made.alarm(3), made.alarm(5, 3, 2, since=3), made.alarm(9, 0, 3, since=3)
    other = made.alarm(4, 1, asset="m2")
    reads = sender.read(raised, worse, gone, other)
    store.commit([reads[2], reads[0]])  # in another order, as through two hubs
    store.commit([reads[1], reads[3]])
    with database.read() as connection:
        rows = connection.execute(select(alarms).order_by(alarms.c.asset)).all()
        assert [(r.id, r.state, r.level, r.since, r.cleared, r.number) for r in rows] == [
            ("m1-3", "cleared", 0, 3, 9, 9),
            ("m2-4", "raised", 1, 4, None, 4),
        ]
        assert rows[0].prognosis["health"] == 0.5
        assert rows[0].contributions == [{"channel": "flow", "value": -0.25}]
        assert [row.id for row in queries.open_alarms(connection)] == ["m2-4"]
        assert queries.open_alarms(connection, 1) == []
        changes = connection.execute(
            select(alarm_changes.c.level).order_by(alarm_changes.c.asset, alarm_changes.c.number)
        )
        assert list(changes.scalars()) == [2, 3, 0, 1]
        assert queries.find_asset(connection, "m1").asset_class == ""  # an alarm does not say
    store.commit(sender.read(made.block(made.prognoses())))
    with database.read() as connection:
        assert queries.find_asset(connection, "m1").asset_class == "pump"


def test_events_and_answers(database, store, sender):
    store.commit(sender.read(made.event(1), made.event(1, state="raised"), made.answer(4), made.answer(4, "unknown")))
    with database.read() as connection:
        found = connection.execute(select(events).order_by(events.c.place)).all()
        assert [(row.id, row.state, row.detail, row.counts) for row in found] == [
            ("e1", "noted", "full", {}),
            ("e1", "raised", "full", {}),
        ]
        answers = connection.execute(select(command_answers).order_by(command_answers.c.status)).all()
        assert [(row.id, row.status, row.value) for row in answers] == [
            ("c4", "done", 1480.5),
            ("c4", "unknown", 1480.5),
        ]


def test_the_same_message_again(database, store, sender):
    reads = sender.read(made.block(made.prognoses()), made.event(1))
    first = store.commit([*reads, reads[0]])
    again = store.commit(reads)
    assert acked(first) == acked(again) == LaneAck(2)
    assert rows_of(database, prognoses) == rows_of(database, events) == 1
    assert rows_of(database, messages) == 2
    assert count(database, "repeated_messages") == 3
    assert count(database, "received") == 5


def test_the_same_rows_under_another_transport_key(database, store, sender):
    """A gateway that packs its rows anew, into larger blocks."""
    store.commit(sender.read(made.block(made.prognoses(numbers=(1, 2)))))
    told = store.commit(sender.read(made.block(made.prognoses(numbers=(2, 3), seed=9))))
    assert acked(told) == LaneAck(2)
    assert rows_of(database, prognoses) == 3
    assert count(database, "repeated_prognoses", "") == 1
    with database.read() as connection:
        [found] = queries.read_prognoses(connection, 1)
        first = made.prognoses(numbers=(1, 2)).outputs["health"]
        assert found.outputs["health"][:2].tobytes() == first.tobytes()  # the first one stays


def test_acknowledgements_are_shared_by_hubs(database, store, sender):
    other = Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)
    reads = sender.read(*(made.event(n) for n in range(1, 7)))
    assert acked(store.commit([reads[0], reads[3]])) == LaneAck(1, ((4, 4),))
    assert acked(other.commit([reads[1], reads[5]])) == LaneAck(2, ((4, 4), (6, 6)))
    assert acked(store.commit([reads[2]])) == LaneAck(4, ((6, 6),))
    assert acked(other.commit([reads[4]])) == LaneAck(6)


def test_what_the_spool_has_dropped_is_not_waited_for(store, sender):
    store.commit(sender.read(made.event(1)))
    sender.read(made.event(2), made.event(3))
    assert acked(store.commit(sender.read(made.event(4), floor=4))) == LaneAck(4)


def test_epochs_and_lanes_are_told_apart(store, sender):
    told = store.commit(
        [*sender.read(made.event(1), made.event(2, Lane.RAW)), *made.Sender(epoch=5).read(made.event(3))]
    )
    assert {each.ack.epoch: dict(each.ack.lanes) for each in told} == {
        5: {Lane.LIVE: LaneAck(1)},
        made.EPOCH: {Lane.LIVE: LaneAck(1), Lane.RAW: LaneAck(1)},
    }


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (made.prognoses(("m9",), (1,), 3), "unknown_asset"),
        (made.prognoses(("m1",), (1,), 2), "old_term"),
        (made.prognoses(("m1",), (1,), 4), "new_term"),
        (made.prognoses(("m1",), (1,), 3, "turbofan"), "wrong_class"),
    ],
)
def test_rows_that_may_not_be_taken(database, strict, sender, rows, reason):
    told = strict.commit(sender.read(made.block(rows), made.block(made.prognoses(numbers=(7,), term=3))))
    assert acked(told) == LaneAck(2)  # they hold up nothing
    assert rows_of(database, prognoses) == 1
    assert reasons(database) == [reason]
    assert count(database, f"refused_{reason}") == count(database, f"dead_{reason}") == 1


def test_another_gateways_machine(database, strict):
    told = strict.commit(made.Sender("gw-8").read(made.block(made.prognoses(term=3)), made.alarm(4, term=3)))
    assert acked(told) == LaneAck(1)
    assert acked(told, Lane.ALARM) == LaneAck(1)
    assert rows_of(database, prognoses) == rows_of(database, alarms) == 0
    assert reasons(database) == ["not_owner", "not_owner"]


def test_the_other_rows_of_a_block_are_taken(database, strict, sender):
    sent = made.observations(("m0", "m1", "m9"), (1, 2), term=3, waveforms=made.snapshots([0, 3, 5]))
    strict.commit(sender.read(made.block(sent)))
    with database.read() as connection:
        [found] = queries.read_observations(connection, 1)
        assert found.keys.number.tolist() == [1, 2]
        assert found.readings.tobytes() == sent.readings[2:4].tobytes()
        [(_, _, number, features)] = queries.read_features(connection, 1, "shake")
        assert (number, features.tolist()) == (2, [3, 4, 5])
        kept = connection.execute(select(dead_letters)).one()
    assert rows_of(database, observations) == 2
    assert (kept.reason, kept.gateway, kept.times) == ("unknown_asset", made.GATEWAY, 1)
    assert kept.detail.startswith("4 rows of m0, m9: nobody has registered it: register it")
    again = read(Letter(kept.topic.encode(), kept.content, kept.payload))  # for programs to try again
    assert len(again.message.body.keys) == 6


def test_a_handover_while_messages_come(database, strict, sender):
    """What the former owner still sends is refused from the moment of the change on."""
    other = made.Sender("gw-8")
    strict.commit(sender.read(made.block(made.prognoses(numbers=(1,), term=3))))
    with database.write() as connection:
        gateway_id(connection, "gw-8", made.SITE, 1)
        assign(connection, ACT, "m1", "gw-8")
    strict.commit(
        [
            *sender.read(
                made.block(made.prognoses(numbers=(2,), term=3)), made.block(made.prognoses(numbers=(3,), term=4))
            ),
            *other.read(made.block(made.prognoses(numbers=(1,), term=4))),
        ]
    )
    assert reasons(database) == ["not_owner", "old_term"]
    with database.read() as connection:
        assert [
            (span.keys.term.tolist(), span.keys.number.tolist()) for span in queries.read_prognoses(connection, 1)
        ] == [([3, 4], [1, 1])]
        assert queries.read_latest(connection)[1].keys.term.tolist() == [4]


def test_adoption_follows_the_owner_alone(database, store, sender):
    store.commit(sender.read(made.block(made.prognoses())))
    store.commit(made.Sender("gw-8").read(made.block(made.prognoses(numbers=(2,), term=1))))
    assert reasons(database) == ["not_owner"]
    store.commit(sender.read(made.block(made.prognoses(numbers=(1,), term=2))))
    with database.read() as connection:
        assert queries.find_asset(connection, "m1").term == 2
    assert rows_of(database, prognoses) == 2


def test_so_many_machines_and_no_more_are_adopted(database, sender):
    store = Store(database, RegistrySettings(adopt=True, most=2), SystemClock(), 1 << 20)
    for _ in range(2):
        store.commit(sender.read(made.block(made.prognoses(("m1", "m2", "m3")))))
    assert rows_of(database, assets) == rows_of(database, prognoses) == 2
    assert count(database, "refused_unknown_asset") == 2


def damaged(outgoing, seq, damage):
    letter = made.letter(outgoing, seq)
    return read(letter._replace(payload=damage(letter.payload)))


def test_what_cannot_be_read(database, store):
    cases = [
        damaged(made.block(made.prognoses()), 1, lambda p: p[:-3]),  # its envelope can be read
        damaged(made.event(1), 2, lambda p: p.replace(b'"1.0"', b'"2.0"', 1)),
        damaged(made.event(1), 3, lambda p: p.replace(b'"code":"disk"', b'"code":7')),
        damaged(made.event(1), 4, lambda _: b"{"),  # it cannot
        read(Letter(b"overhaul/1/north/gw-7/up/nonsense", "x", b"1")),
        read(Letter(b"\xff", "", b"")),
        read(made.letter(made.event(1), 5)._replace(topic=b"overhaul/1/north/gw-8/up/event")),  # another's topic
    ]
    told = store.commit(cases)
    assert [(each.gateway, each.ack.lanes) for each in told] == [(made.GATEWAY, {Lane.LIVE: LaneAck(3)})]
    assert reasons(database) == ["body", "identity", "json", "major", "packing", "topic", "topic"]
    store.commit(cases)
    assert rows_of(database, dead_letters) == 7
    with database.read() as connection:
        times = select(dead_letters.c.reason, dead_letters.c.times).order_by(dead_letters.c.reason)
        # Those with a key are known by it when they come again.
        found = [tuple(row) for row in connection.execute(times)]
        assert found == [
            ("body", 1),
            ("identity", 2),
            ("json", 2),
            ("major", 1),
            ("packing", 1),
            ("topic", 2),
            ("topic", 2),
        ]
        assert connection.execute(select(events.c.id)).all() == []


def test_large_dead_letters_are_cut(database):
    store = Store(database, RegistrySettings(), SystemClock(), 10)
    store.commit([read(Letter(b"overhaul/1/north/gw-7/up/event", "application/json", b"x" * 1000))])
    with database.read() as connection:
        kept = connection.execute(select(dead_letters)).one()
    assert (len(kept.payload), kept.size) == (10, 1000)


def waveform(number=5, seed=0):
    samples = np.random.default_rng(seed).normal(size=(2, 4000)).astype(np.float32)
    return samples, split(
        samples, asset="m1", channel="shake", term=0, number=number, t=9, t_rx=10, largest=6_000, model_id="model-1"
    )


def test_waveforms_are_put_together_whichever_way_their_parts_come(database, store, sender):
    samples, outgoing = waveform()
    parts = sender.read(*outgoing)
    assert len(parts) > 4
    other = Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)
    store.commit([parts[3], parts[0]])
    with database.read() as connection:
        assert queries.read_waveform(connection, 1, "shake", 0, 5) is None
    other.commit([*parts[4:], parts[2]])
    assert rows_of(database, waveform_parts) == len(parts) - 1
    assert acked(store.commit([parts[1]]), Lane.RAW) == LaneAck(len(parts))
    with database.read() as connection:
        assert queries.read_waveform(connection, 1, "shake", 0, 5).tobytes() == samples.tobytes()
        assert queries.read_waveform(connection, 1, "shake", 0, 6) is None
    assert rows_of(database, waveform_parts) == 0
    store.commit(made.Sender(epoch=9).read(*outgoing))  # all of it again, under other keys
    assert count(database, "waveforms_repeated") == len(parts)
    assert rows_of(database, waveform_parts) == 0


def test_parts_that_do_not_belong_together(database, store):
    _, one = waveform(seed=1)
    _, two = waveform(seed=2)
    store.commit(made.Sender().read(*one[:2]))
    told = store.commit(made.Sender(epoch=9).read(*two))
    assert acked(told, Lane.RAW) == LaneAck(len(two))
    assert set(reasons(database)) == {"mismatch"}
    store.commit(made.Sender(epoch=10).read(*one))
    with database.read() as connection:
        assert queries.read_waveform(connection, 1, "shake", 0, 5) is not None


def test_a_part_with_other_bytes(database, store):
    _, parts = waveform()
    forged = [
        part if i else part.__class__(**{**part.__dict__, "body": part.body[:-5] + b"55555"})
        for i, part in enumerate(parts)
    ]
    store.commit(made.Sender().read(*forged))
    assert len(reasons(database)) == 1
    with database.read() as connection:
        assert queries.read_waveform(connection, 1, "shake", 0, 5) is None
    assert rows_of(database, waveform_parts) == 0


def test_statuses(database, store, sender):
    store.commit(sender.read(made.event(1), made.event(2)))
    told = store.commit([made.status(version="1.2", bundles={"pump": "abc"}, insecure=("plain MQTT",))])
    assert acked(told) == LaneAck(2)  # said once more: it may have missed it
    assert store.commit([made.status("offline", 2)]) == []
    with database.read() as connection:
        [row] = queries.list_gateways(connection)
    assert not row.online(row.heard_at)
    assert (row.name, row.site, row.state, row.version) == (made.GATEWAY, made.SITE, "offline", "1.2")
    assert (row.bundles, row.insecure, row.clock) == ({"pump": "abc"}, ["plain MQTT"], "synced")
    store.commit([made.status("online", 3)])
    with database.read() as connection:
        [row] = queries.list_gateways(connection)
    assert row.online(row.heard_at + 1)
    assert not row.online(row.heard_at + 10**12)
    forged = Letter(b"overhaul/1/north/gw-9/status", "application/json", made.status().letter.payload)
    store.commit([read(forged)])
    assert reasons(database) == ["identity"]


def test_numbers_given_twice_are_no_repetition(database, store, sender, caplog):
    """A gateway that lost its journal counts from 1 again: what it sends is new, whatever its keys say."""
    store.commit(sender.read(made.block(made.observations(("m1", "m2"), (1, 2, 3)))))
    store.commit(sender.read(made.block(made.observations(("m1", "m2"), (2, 3, 4)))))
    assert reasons(database) == [], "the same observations in other blocks"
    later = made.START + 100 * made.HOUR
    anew = made.Sender(epoch=made.EPOCH + 1)
    block = made.block(made.observations(("m1",), (1, 2), start=later))
    [told] = store.commit(anew.read(block))
    assert acked([told]) == LaneAck(1), "it does not come for ever"
    assert reasons(database) == ["number_reused"]
    assert "lost its journal and counts anew" in caplog.text
    assert count(database, "refused_number_reused") == 2
    with database.read() as connection:
        detail = connection.execute(select(dead_letters.c.detail)).scalar_one()
    assert detail.startswith("2 rows of m1 have numbers")
    assert "raise their term" in detail
    store.commit(anew.read(made.block(made.observations(("m1",), (1, 2), term=1, start=later))))
    assert rows_of(database, observations) == 8 + 2, "the next term is the way out"


def test_a_number_given_twice_in_one_block_is_told_whichever_comes_first(database, store, sender):
    """No gateway of ours does it. What is stored is the first, with its own waveform; the block is kept to look at."""
    sent = made.observations(("m1",), (1, 1, 2), waveforms=made.snapshots([1, 0]))
    sent.keys.t[:] = made.START + np.array([10, 20, 30])
    store.commit(sender.read(made.block(sent)))
    assert reasons(database) == ["number_reused"]
    with database.read() as connection:
        [found] = queries.read_observations(connection, 1)
        assert (found.keys.number.tolist(), (found.keys.t - made.START).tolist()) == ([1, 2], [10, 30])
        [(t, _, number, features)] = queries.read_features(connection, 1, "shake")
        assert (t - made.START, number, features.tolist()) == (10, 1, [3, 4, 5])
    again = made.observations(("m1",), (2, 2))
    again.keys.t[:] = made.START + np.array([40, 30])  # the second one is there already
    store.commit(sender.read(made.block(again)))
    assert count(database, "refused_number_reused") == 2
