"""Waveforms around something odd go up as they were, each at most once; the rest is counted as saved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import Lane, Spooled
from edge_runtime.contract.waveform import Assembler
from edge_runtime.contract.wire import decode, encode
from edge_runtime.upstream.raw import RawSelector, RawSettings
from tests.edge_runtime.upstream.made import SECOND, batch, outputs

ASSETS = ("m0", "m1")
DAY = 86400 * SECOND


class Plant:
    """One class with a waveform channel, and the journal that its selector looks things up in."""

    def __init__(self, samples=8, kept=10**6, **settings):
        self.settings, self.samples, self.kept = RawSettings(**settings), samples, kept
        self.journal, self.random, self.number = {}, np.random.default_rng(0), [0, 0]
        self.selector = RawSelector(ASSETS, ("shake",), self.settings, self.fetch)
        self.largest = 64 << 10

    def fetch(self, position):
        return self.journal.get(position) if position > len(self.journal) - self.kept else None

    def observe(self, *machines, alarm=0.0, score=0.0, snapshot=True, time=None):
        """The next observations of `machines`; the numbers whose snapshot goes up, by machine."""
        position = len(self.journal) + 1
        count = len(machines) if snapshot else 0
        samples = self.random.normal(size=(count, 3, self.samples)).astype(np.float32)
        waveforms = {"shake": (samples, np.arange(count))}
        one = batch(machines, position * SECOND if time is None else time, waveforms=waveforms)
        self.journal[position] = one
        for machine in machines:
            self.number[machine] += 1
        said = outputs(len(machines), alarm=alarm) | {"anomaly_score": np.full(len(machines), score, np.float32)}
        numbers = np.array([self.number[machine] for machine in machines])
        self.last = (position, one, np.zeros(len(machines), np.int64), numbers, said)
        self.messages = self.selector.update(*self.last, largest=self.largest)
        return [(m, number) for m, number, _ in self.sent()]

    def sent(self):
        assembler, found = Assembler(), []
        for seq, message in enumerate(self.messages, start=1):
            assert message.lane is Lane.RAW
            content, payload = encode(Spooled(1, seq, message), "gw", 1)
            assert len(payload) <= self.largest
            arrived = decode(content, payload)
            whole = assembler.add(arrived.envelope, arrived.body, 0)
            if whole:
                part = whole.envelope.part
                found.append((ASSETS.index(whole.envelope.asset), part.number, whole.samples))
        return found


def test_before_during_and_after_something_odd():
    plant = Plant(before=2, after=2)
    assert [plant.observe(0) for _ in range(4)] == [[]] * 4
    assert plant.observe(0, alarm=1.0) == [(0, 3), (0, 4), (0, 5)]
    assert [plant.observe(0) for _ in range(3)] == [[(0, 6)], [(0, 7)], []]


def test_a_high_score_is_odd_too_and_no_other_machine_is_concerned():
    plant = Plant(before=1, after=1, score=0.9)
    plant.observe(0, 1)
    assert plant.observe(0, score=0.95) == [(0, 1), (0, 2)]
    assert plant.observe(0, 1) == [(0, 3)]
    assert plant.observe(0, 1, score=0.9) == []


def test_each_snapshot_goes_up_once_however_close_two_oddities_are():
    plant = Plant(before=3, after=1)
    plant.observe(0)
    sent = [plant.observe(0, alarm=float(a)) for a in (1, 0, 0, 1, 0)]
    assert sent == [[(0, 1), (0, 2)], [(0, 3)], [], [(0, 4), (0, 5)], [(0, 6)]]


def test_an_odd_observation_without_a_snapshot_asks_for_those_around_it():
    plant = Plant(before=1, after=1)
    plant.observe(0)
    assert plant.observe(0, alarm=2.0, snapshot=False) == [(0, 1)]
    assert plant.observe(0, snapshot=False) == []
    assert plant.observe(0) == [(0, 4)]


@pytest.mark.parametrize(("which", "expected"), [("all", [[(0, 1)], [(0, 2)]]), ("none", [[], []])])
def test_all_or_none(which, expected):
    plant = Plant(which=which)
    assert [plant.observe(0), plant.observe(0, alarm=3.0)] == expected
    assert plant.selector.counts["seen"] == 2


def test_they_come_back_bit_by_bit_and_what_was_saved_is_counted():
    plant = Plant(samples=20_000, before=1, after=0)
    plant.largest = 16 << 10
    for _ in range(8):
        plant.observe(0)
    plant.observe(0, alarm=1.0)
    assert len(plant.messages) > 10
    for (_, number, samples), position in zip(plant.sent(), (8, 9), strict=True):
        assert number == position
        assert samples.tobytes() == plant.journal[position].waveforms["shake"][0][0].tobytes()
    counts = plant.selector.counts
    assert (counts["seen_bytes"], counts["sent_bytes"]) == (9 * 240_000, 2 * 240_000)
    assert counts["message_bytes"] == sum(len(m.body) for m in plant.messages)


def test_a_standing_alarm_has_a_budget_for_each_day():
    plant = Plant(before=0, after=0, per_day=3)
    sent = [len(plant.observe(0, alarm=1.0, time=hour * 3600 * SECOND)) for hour in range(48)]
    assert [sum(sent[:24]), sum(sent[24:])] == [3, 3]
    assert plant.selector.counts["over_budget"] == 42


def test_what_the_journal_no_longer_has_is_counted():
    plant = Plant(before=2, kept=1)
    for _ in range(3):
        plant.observe(0)
    assert plant.observe(0, alarm=1.0) == [(0, 4)]
    assert plant.selector.counts["gone"] == 2


def test_a_waveform_of_too_many_parts_is_counted():
    plant = Plant(samples=200_000)
    plant.largest = 2100
    assert plant.observe(0, alarm=1.0) == []
    assert plant.selector.counts["too_large"] == 1


def test_machines_are_found_again_by_name():
    plant = Plant(before=1)
    plant.observe(1)
    state = plant.selector.state()
    later = RawSelector(("new", "m1"), ("shake",), plant.settings, plant.fetch)
    assert later.restore(state)
    assert later._channels["shake"].taken["number"].tolist() == [[0], [1]]
    assert not RawSelector(ASSETS, ("shake",), RawSettings(before=5), plant.fetch).restore(state)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30), st.integers(0, 3), st.integers(0, 3)
)
def test_a_restart_in_between_changes_nothing(steps, before, after):
    """Each step: odd, with a snapshot, restarted after it (its messages were committed)."""
    plant, twin = (Plant(before=before, after=after, per_day=5) for _ in range(2))
    checkpoint, since, sent = twin.selector.state(), [], []
    for odd, snapshot, restarts in steps:
        expected = plant.observe(0, alarm=float(odd), snapshot=snapshot)
        assert twin.observe(0, alarm=float(odd), snapshot=snapshot) == expected
        sent += expected
        since.append(twin.last)
        if restarts:
            twin.selector = RawSelector(ASSETS, ("shake",), twin.settings, twin.fetch)
            assert twin.selector.restore(checkpoint)
            for one in since:
                twin.selector.repeat(*one)
            checkpoint, since = twin.selector.state(), []
    assert len(set(sent)) == len(sent)
