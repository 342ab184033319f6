from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.batch import Batch
from edge_runtime.bundle import Bundle
from edge_runtime.errors import StateError
from edge_runtime.takeover import take_over, warm
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract

MINUTE = 60 * 10**9


def slices(*fingerprints, names=("elapsed", "peak"), sizes=(2, 1)):
    """The state of the tiny twin in two slices."""
    starts = np.cumsum([0, *sizes])
    parts = zip(names, starts.tolist(), sizes, fingerprints, strict=False)
    keys = ("name", "start", "size", "fingerprint")
    return {"size": 3, "slices": [dict(zip(keys, part, strict=True)) | {"scope": "life"} for part in parts]}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Of the tiny class: the running one; one with another `elapsed`; one whose channels changed places, too."""
    folder = tmp_path_factory.mktemp("bundles")
    channels = tiny_contract()["channels"]
    made = {
        "old": {"state": slices("e1", "p1")},
        "same": {"state": slices("e1", "p1"), "title": "Tiny machine, trained again"},
        "new": {"state": slices("e2", "p1")},
        "renamed": {"state": slices("e1", "p1", names=("watched", "peak"))},
        "swapped": {"state": slices("e2", "p2"), "channels": channels[::-1]},
        "other": {"state": slices("e2", "p2"), "channels": [{**channels[0], "name": "noise"}, channels[0]]},
        "cycles": {"time": {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50}},
    }
    return {name: Bundle.load(tiny_bundle(folder / name, **changes)) for name, changes in made.items()}


def batch(rows, minute, readings, shaken=()):
    rows = np.array(rows)
    samples = np.full((len(shaken), 1, 4), float(minute), np.float32)
    return Batch(
        rows,
        np.full(len(rows), minute * MINUTE),
        np.array(readings, np.float32),
        np.zeros(len(rows), np.float32),
        np.full(len(rows), np.nan, np.float32),
        {"shake": (samples, np.array(shaken, np.int64))},
        np.zeros(len(rows), np.int64),
    )


def run(fleet, history):
    for b in history:
        fleet.advance(b.rows, b.time, b.readings, b.event, b.age, b.waveforms)
    return fleet


HISTORY = [batch([0, 1], minute, [[minute, 2], [3, 4]], shaken=[1]) for minute in range(1, 6)]


def test_slices_with_equal_fingerprints_go_over_by_machine(bundles):
    old = run(bundles["old"].fleet(["a", "b"]), HISTORY)
    new = bundles["new"].fleet(["c", "b"])
    taken = take_over(old, bundles["old"].contract, new, bundles["new"].contract)
    assert (taken.kept, taken.anew, taken.machines) == (("peak",), ("elapsed",), 1)
    assert taken.share == pytest.approx(1 / 3)
    assert str(taken) == "1 machines take over 33% of their state; elapsed start anew"
    assert new.state.tolist() == [[0, 0, 0], [0, 0, 5]]
    assert new.number.tolist() == [0, 5]
    assert new.time.tolist() == [0, 5 * MINUTE]


def test_a_model_that_remembers_the_same_goes_on_to_the_bit(bundles):
    old = run(bundles["old"].fleet(["a", "b"]), HISTORY)
    new = bundles["same"].fleet(["a", "b"])
    assert take_over(old, bundles["old"].contract, new, bundles["same"].contract).share == 1
    after = [batch([1, 0], 8, [[1, 2], [3, 4]], shaken=[0])]
    assert np.array_equal(run(old, after).state, run(new, after).state)
    assert np.array_equal(old.number, new.number)


def test_a_slice_under_another_name_is_another_slice(bundles):
    old = run(bundles["old"].fleet(["a", "b"]), HISTORY)
    new = bundles["renamed"].fleet(["a", "b"])
    taken = take_over(old, bundles["old"].contract, new, bundles["renamed"].contract)
    assert taken.anew == ("watched",)


def test_what_cannot_go_over_is_warmed_by_history_and_what_can_wins(bundles):
    old = run(bundles["old"].fleet(["a", "b"]), HISTORY)
    new = bundles["new"].fleet(["b", "c"])
    stored = HISTORY[2:]  # the older ones have been dropped
    accepted = warm(new, bundles["new"].contract, stored, ["a", "b"], ["flow", "speed"])
    assert accepted == 3
    assert new.state[0].tolist() == [120, 3, 5]
    take_over(old, bundles["old"].contract, new, bundles["new"].contract)
    assert new.state.tolist() == [[120, 3, 5], [0, 0, 0]]
    assert new.number.tolist() == [5, 0]
    out, _ = new.advance(np.array([0]), np.array([6 * MINUTE]), np.ones((1, 2), np.float32))
    assert new.number[0] == 6
    assert out["rul"].tolist() == [96]


@pytest.mark.parametrize(("name", "expected"), [("swapped", [[6, 5]]), ("other", [[np.nan, 5]])])
def test_channels_are_told_by_name(bundles, name, expected):
    seen = []
    bundle = bundles[name]
    fleet = bundle.fleet(["a"])
    advance = fleet.advance
    fleet.advance = lambda rows, time, readings, *rest, **more: (
        seen.append(readings),
        advance(rows, time, readings, *rest, **more),
    )[1]
    warm(fleet, bundle.contract, [batch([0], 1, [[5, 6]])], ["a"], ["flow", "speed"])
    assert np.array_equal(seen[0], np.array(expected, np.float32), equal_nan=True)


def test_a_machine_that_has_seen_nothing_gives_nothing(bundles):
    old = run(bundles["old"].fleet(["a", "b"]), [batch([0], 9, [[1, 1]])])
    new = run(bundles["new"].fleet(["a", "b"]), HISTORY)
    take_over(old, bundles["old"].contract, new, bundles["new"].contract)
    assert new.number.tolist() == [1, 5]
    assert new.time.tolist() == [9 * MINUTE, 5 * MINUTE]


def test_other_units_of_time_are_refused(bundles):
    old, new = bundles["old"].fleet(["a"]), bundles["cycles"].fleet(["a"])
    with pytest.raises(StateError, match="old bundle counts time in s, the new one in cycle"):
        take_over(old, bundles["old"].contract, new, bundles["cycles"].contract)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from("abcdef"), unique=True, min_size=1),
    st.lists(st.sampled_from("abcdef"), unique=True, min_size=1),
    st.lists(st.lists(st.integers(0, 5), unique=True, min_size=1), max_size=5),
)
def test_machines_are_matched_by_id(bundles, before, after, turns):
    old = bundles["old"].fleet(before)
    history = []
    for minute, rows in enumerate(turns, 1):
        rows = [row for row in rows if row < len(before)]
        if rows:
            history.append(batch(rows, minute, [[1, 1]] * len(rows), shaken=[0]))
    run(old, history)
    new = bundles["same"].fleet(after)
    taken = take_over(old, bundles["old"].contract, new, bundles["same"].contract)
    assert taken.machines == len(set(before) & set(after))
    for asset in after:
        row = new.index[asset]
        expected = old.state[old.index[asset]] if asset in before else np.zeros(3)
        assert np.array_equal(new.state[row], expected)
        assert new.number[row] == (old.number[old.index[asset]] if asset in before else 0)
    warmed = bundles["same"].fleet(after)
    warm(warmed, bundles["same"].contract, history, before, ["flow", "speed"])
    assert np.array_equal(warmed.state, new.state)


@pytest.mark.parametrize("fleet", ["pump", "turbofan-FD001"])
def test_a_trained_bundle_takes_over_from_itself(fleet):
    folder = Path(f"artifacts/{fleet}/bundle")
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: uv run dvc repro makes it")
    bundle = Bundle.load(folder)
    rng = np.random.default_rng(0)
    middle = np.array([np.mean(channel.range) for channel in bundle.contract.channels])
    interval = int(bundle.contract.time.interval * 1e9)
    history = [
        Batch(
            np.arange(3),
            np.full(3, (k + 1) * interval),
            (middle * rng.normal(1, 0.01, (3, len(middle)))).astype(np.float32),
            np.zeros(3, np.float32),
            np.full(3, np.nan, np.float32),
            {},
            np.zeros(3, np.int64),
        )
        for k in range(8)
    ]
    old = run(bundle.fleet(["a", "b", "c"]), history[:5])
    new = bundle.fleet(["a", "b", "c"])
    assert warm(new, bundle.contract, history[:5], old.assets, [c.name for c in bundle.contract.channels]) == 15
    assert np.array_equal(new.state, old.state)
    new = bundle.fleet(["a", "b", "c"])
    assert take_over(old, bundle.contract, new, bundle.contract).anew == ()
    assert np.array_equal(run(old, history[5:]).state, run(new, history[5:]).state)
