"""Messages are acknowledged in the order they came, each once, whatever order they are committed in."""

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.mqtt.receipts import Receipts, pubacks


def test_what_is_committed_early_waits_for_what_came_before():
    receipts = Receipts()
    a, b, c = (receipts.add(mid) for mid in (7, 5, 9))
    assert receipts.acknowledge([b]) == []
    assert receipts.acknowledge([c, a]) == [7, 5, 9]
    assert len(receipts) == 0


def test_receipts_of_another_connection_are_ignored():
    old, new = Receipts(), Receipts()
    stale, fresh = old.add(1), new.add(1)
    assert new.acknowledge([stale]) == []
    assert new.acknowledge([fresh]) == [1]


def test_one_receipt_for_several_messages():
    receipts = Receipts()
    given_out = [receipts.add(mid) for mid in (1, 2, 3, 4)]
    generation = receipts.generation
    assert receipts.acknowledge([(generation, 1, 3)]) == []
    assert receipts.acknowledge([given_out[0]]) == [1, 2]
    assert receipts.acknowledge([given_out[2]]) == [3, 4]


@given(st.data())
def test_any_order_any_grouping_any_repetition(data):
    receipts = Receipts()
    count = data.draw(st.integers(0, 30))
    mids = data.draw(st.lists(st.integers(1, 65_535), min_size=count, max_size=count))
    waiting, sent, committed, added = [], [], set(), 0
    for _ in range(data.draw(st.integers(0, 20))):
        for _ in range(data.draw(st.integers(0, 5))):
            if added < count:
                waiting.append(receipts.add(mids[added]))
                added += 1
        chosen = data.draw(st.lists(st.sampled_from(waiting), max_size=6)) if waiting else []
        if len(chosen) > 1 and data.draw(st.booleans()):  # a waveform in parts
            chosen = [(receipts.generation, *sorted({number for _, number in chosen}))]
        committed |= {number for receipt in chosen for number in receipt[1:]}
        sent += receipts.acknowledge(chosen)
        in_order = next((n for n in range(added) if n not in committed), added)
        assert sent == mids[:in_order]
        assert len(receipts) == added - in_order


def test_pubacks_are_four_bytes_each():
    assert pubacks([]) == b""
    assert pubacks([65_535]) == b"\x40\x02\xff\xff"
