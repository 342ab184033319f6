import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.fleet import Fleet
from edge_runtime.step import StepFunction
from tests.edge_runtime.tiny import step_by_hand, tiny_twin

STEP = StepFunction(tiny_twin())
S = 1_000_000_000


def fleet_of(machines, **kwargs):
    return Fleet(STEP, [f"m{i}" for i in range(machines)], **kwargs)


def advance(fleet, rows, seconds, values=None, **kwargs):
    n = len(seconds)
    readings = np.ones((n, 2), np.float32) if values is None else np.asarray(values, np.float32)
    return fleet.advance(rows, np.asarray(seconds, np.int64) * S, readings, **kwargs)


def test_dt_is_zero_at_first_and_then_the_difference():
    fleet = fleet_of(2)
    advance(fleet, slice(None), [1_700_000_000, 5])
    assert fleet.state[:, 0].tolist() == [0, 0]
    advance(fleet, slice(None), [1_700_000_003, 65])
    assert fleet.state[:, 0].tolist() == [3, 60]


def test_dt_keeps_nanoseconds_of_today():
    fleet = fleet_of(1)
    now = 1_760_000_000 * S
    for time in (now, now + 250):
        fleet.advance(slice(None), np.array([time]), np.ones((1, 2), np.float32))
    assert fleet.state[0, 0] == np.float32(250e-9)


@pytest.mark.parametrize(("first", "second"), [(-(2**63), 2**63 - 1), (2**63 - 1, -(2**63))])
def test_the_ends_of_time_never_give_a_negative_dt(first, second):
    fleet = fleet_of(1)
    for time in (first, second):
        fleet.advance(slice(None), np.array([time]), np.ones((1, 2), np.float32))
    assert fleet.state[0, 0] >= 0
    assert fleet.counts["accepted"] == (2 if second > first else 1)


def test_duplicate_and_late_observations_are_refused_and_counted():
    fleet = fleet_of(3)
    advance(fleet, slice(None), [10, 10, 10])
    before = fleet.snapshot()
    out, accepted = advance(fleet, slice(None), [10, 11, 9], [[9, 9], [4, 4], [9, 9]])
    assert accepted.tolist() == [False, True, False]
    assert out["health"].tolist() == [4]
    assert np.array_equal(fleet.state[[0, 2]], before.state[[0, 2]])
    assert fleet.counts == {"accepted": 4, "duplicate": 1, "late": 1}
    out, accepted = advance(fleet, np.array([2]), [3], wanted=("quality",))
    assert {name: value.shape for name, value in out.items()} == {"quality": (0, 2)}
    assert not accepted.any()


def test_refused_rows_do_not_shift_waveforms_events_and_ages():
    fleet = fleet_of(3)
    advance(fleet, slice(None), [10, 10, 10])
    shake = np.arange(12, dtype=np.float32).reshape(3, 1, 4)
    out, _ = advance(
        fleet,
        slice(None),
        [10, 11, 12],
        event=np.array([1, 0, 1], np.float32),
        age=np.array([0, np.nan, 0], np.float32),
        waveforms={"shake": (shake, np.array([2, 1, 0]))},
    )
    assert fleet.state[:, 2].tolist() == [0, 7, 3]
    assert fleet.state[:, 1].tolist() == [1, 2, 1]
    assert out["warming_up"].tolist() == [1, 0]
    assert out["shake.features"].ravel().tolist() == [3, 7]


def test_settings_reach_their_machine_whatever_the_rows():
    fleet = fleet_of(3, settings=np.array([[1], [2], [3]], np.float32))
    out, _ = advance(fleet, np.array([2, 0]), [1, 1], [[0, 0], [0, 0]])
    assert out["contribution"][:, 0].tolist() == [-3, -1]


def test_a_backward_slice_keeps_each_machine_its_state():
    fleet = fleet_of(3)
    advance(fleet, slice(None), [10, 20, 30])
    advance(fleet, slice(None, None, -1), [31, 22, 13])
    assert fleet.state[:, 0].tolist() == [3, 2, 1]


# One reading: machine, time, value, event.
_readings = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.floats(-10, 10, width=32), st.sampled_from([0, 1])), max_size=25
)


@given(_readings, st.randoms(use_true_random=False))
def test_what_a_machine_gets_does_not_depend_on_its_company(readings, shuffle):
    """Batches of distinct machines in any order equal each machine stepped alone, by hand, in float32."""
    by_hand = {}
    alone, last, counts = [(0.0, 0.0, 0.0)] * 5, [None] * 5, {"accepted": 0, "duplicate": 0, "late": 0}
    batches, current = [], []
    for i, (machine, time, value, event) in enumerate(readings):
        if machine in {readings[j][0] for j in current}:
            batches.append(current)
            current = []
        current.append(i)
        if last[machine] is not None and time <= last[machine]:
            counts["duplicate" if time == last[machine] else "late"] += 1
            continue
        dt = 0 if last[machine] is None else time - last[machine]
        by_hand[i] = step_by_hand(np.full(2, value, np.float32), dt, event, alone[machine])
        alone[machine], last[machine] = by_hand[i][2], time
        counts["accepted"] += 1
    fleet, got = fleet_of(5), {}
    for batch in [*batches, current]:
        shuffle.shuffle(batch)
        if not batch:
            continue
        machines, times, values, events = zip(*(readings[i] for i in batch), strict=True)
        rows = slice(None) if machines == (0, 1, 2, 3, 4) else np.array(machines)
        out, accepted = advance(
            fleet, rows, times, [[v, v] for v in values], event=np.array(events, np.float32), wanted=("health", "rul")
        )
        chosen = [i for i, ok in zip(batch, accepted, strict=True) if ok]
        got |= {i: (out["health"][j], out["rul"][j]) for j, i in enumerate(chosen)}
    assert got.keys() == by_hand.keys()
    assert all(got[i] == by_hand[i][:2] for i in got)
    assert fleet.state.tolist() == [list(state) for state in alone]
    assert fleet.counts == counts


def test_snapshots_resume_and_are_copies():
    fleet = fleet_of(2, model_id="abc")
    advance(fleet, slice(None), [1, 2])
    saved = fleet.snapshot()
    want, _ = advance(fleet, slice(None), [5, 7])
    resumed = fleet_of(2, model_id="abc")
    resumed.restore(saved)
    got, _ = advance(resumed, slice(None), [5, 7])
    assert all(np.array_equal(got[name], want[name], equal_nan=True) for name in want)
    assert resumed.number.tolist() == [2, 2]
    assert saved.number.tolist() == [1, 1]


def test_foreign_snapshots_are_refused():
    saved = fleet_of(2, model_id="abc").snapshot()
    with pytest.raises(StateError, match="belongs to model abc"):
        fleet_of(2, model_id="xyz").restore(saved)
    with pytest.raises(StateError, match="not this fleet's"):
        fleet_of(3, model_id="abc").restore(saved)


def test_wrong_calls_are_refused():
    fleet = fleet_of(2)
    with pytest.raises(ValueError, match=r"readings have shape \(2, 3\)"):
        advance(fleet, slice(None), [1, 1], np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"expected int64\[2\]"):
        fleet.advance(slice(None), np.array([1.0, 2.0]), np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="event has shape"):
        advance(fleet, slice(None), [1, 1], event=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="'a b': an identifier"):
        Fleet(STEP, ["a b"])
    with pytest.raises(ValueError, match="'m' is in the fleet twice"):
        Fleet(STEP, ["m", "m"])
    with pytest.raises(ValueError, match="settings have shape"):
        fleet_of(2, settings=np.zeros((2, 2), np.float32))
