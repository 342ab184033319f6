import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.arrange import arrange, assemble
from data.asset_class import AssetClass
from data.lives import divide
from data.recording import End, Recording
from tests.data.conftest import FAN, merged

SECOND = 1_000_000_000
cells = st.one_of(st.just(float("nan")), st.integers(0, 9).map(float))


def recording(seconds, speed=None, vibration=None, **more):
    size = len(seconds)
    channels = {
        "speed": np.asarray(range(size) if speed is None else speed, np.float32),
        "vibration": np.asarray([1] * size if vibration is None else vibration, np.float32),
    }
    return Recording("A", np.asarray(seconds, np.int64) * SECOND, channels, **more)


@given(st.lists(st.tuples(st.integers(0, 8), cells, cells), min_size=1))
def test_rows_are_sorted_and_those_of_equal_time_merged(rows):
    seconds, speed, vibration = zip(*rows, strict=True)
    arranged, lost, out_of_order = arrange(recording(seconds, speed, vibration))
    assert (np.diff(arranged.time) > 0).all()
    assert set(arranged.time // SECOND) == set(seconds)
    losers = set()
    for name, column in (("speed", 1), ("vibration", 2)):
        first: dict[int, float] = {}
        for number, row in enumerate(rows):
            if not np.isnan(row[column]):
                if row[0] in first:
                    losers.add(number)
                first.setdefault(row[0], row[column])
        expected = [first.get(int(second), np.nan) for second in arranged.time // SECOND]
        np.testing.assert_array_equal(arranged.channels[name], expected)
    assert lost == len(losers)
    assert out_of_order == sum(second < max(seconds[:n], default=0) for n, second in enumerate(seconds))


@pytest.mark.parametrize("events", [(1, 2), (2, 1), (0, 1), (1, 0)])
def test_of_events_at_one_time_the_new_life_counts(events):
    arranged, *_ = arrange(recording([3, 3, 4], event=np.array([*events, 0], np.int8)))
    assert arranged.event.tolist() == [1, 0]


def test_what_goes_with_a_row_moves_with_it():
    arranged, _, _ = arrange(
        recording(
            [120, 0, 60, 60],
            age=np.array([3.0, 1.0, np.nan, 2.0]),
            life=np.array([7, 5, 6, 9]),
            event=np.array([0, 1, 0, 2], np.int8),
            waveforms={"shock": (np.array([0, 3, 2]), np.array([[12.0], [6.0], [60.0]]))},
        )
    )
    assert arranged.age.tolist() == [1, 2, 3]
    assert arranged.life.tolist() == [5, 6, 7]
    assert arranged.event.tolist() == [1, 2, 0]
    rows, samples = arranged.waveforms["shock"]
    assert rows.tolist() == [1, 2]
    assert samples[1].tolist() == [12.0]


@pytest.fixture
def windowed(fan):
    """Fans whose rows are assembled to minutes."""
    return fan(time={"assemble": True})


def test_an_unassembled_class_keeps_its_rows(fan):
    rows = recording([1, 2, 30])
    assert assemble(fan(), rows) is rows


def test_windows_are_closed_on_the_right_and_empty_ones_are_observations(windowed):
    observed = assemble(windowed, recording([10, 60, 61, 250], vibration=[1, 2, 3, 4]))
    assert (observed.time // SECOND).tolist() == [60, 120, 180, 240, 300]
    np.testing.assert_array_equal(observed.channels["vibration"], [2, 3, np.nan, np.nan, 4])


def test_age_counts_on_to_the_end_of_the_window(windowed):
    observed = assemble(windowed, recording([30, 90], age=np.array([5.0, 6.0])))
    np.testing.assert_allclose(observed.age, [5.5, 6.5])


@pytest.mark.parametrize("how", ["log", "life", "event"])
def test_a_new_life_leaves_no_idle_windows_between(windowed, how):
    seconds = [30, 90, 400, 460]
    more = {
        "log": {"ends": (End(100 * SECOND, "failure"),)},
        "life": {"life": np.array([0, 0, 1, 1])},
        "event": {"event": np.array([0, 0, 1, 0], np.int8)},
    }[how]
    observed = assemble(windowed, recording(seconds, **more))
    assert (observed.time // SECOND).tolist() == [60, 120, 420, 480]
    lives, life, outside = divide(windowed, observed)
    assert life.tolist() == [0, 0, 1, 1]
    assert outside == []
    assert lives[0].end == 120 * SECOND  # the failure within the last window moves to its end


def test_a_failure_after_the_last_row_stays_where_it_is(windowed):
    lives, _, _ = divide(windowed, assemble(windowed, recording([30, 90], ends=(End(1000 * SECOND, "failure"),))))
    assert [(life.last // SECOND, life.end // SECOND) for life in lives] == [(120, 1000)]


def test_a_snapshot_alone_makes_an_observation_and_the_newest_counts(windowed):
    nan = [np.nan] * 3
    snapshots = (np.array([1, 2]), np.array([[1.0], [2.0]], np.float32))
    observed = assemble(windowed, recording([0, 70, 80], nan, [1, np.nan, np.nan], waveforms={"shock": snapshots}))
    assert (observed.time // SECOND).tolist() == [0, 60, 120]
    row, samples = observed.waveforms["shock"]
    assert (row.tolist(), samples.tolist()) == ([2], [[2.0]])


@given(
    st.lists(st.tuples(st.integers(0, 3000), cells, st.booleans()), min_size=1, unique_by=lambda row: row[0]),
    st.lists(st.integers(0, 3500), max_size=3),
)
def test_lives_of_windows_and_of_rows_agree(rows, failures):
    cls = AssetClass.model_validate(merged(FAN, {"time": {"assemble": True}}))
    rows.sort()
    source = recording(
        [row[0] for row in rows],
        speed=[1] * len(rows),
        vibration=[row[1] for row in rows],
        ends=tuple(End(second * SECOND, "failure") for second in failures),
        event=np.array([row[2] for row in rows], np.int8),
    )
    observed = assemble(cls, source)
    lives, life, _ = divide(cls, observed)
    assert (np.diff(observed.time) > 0).all()
    assert (np.diff(life) >= 0).all()
    assert life[-1] == len(lives) - 1
    for each in lives:
        assert each.begin <= each.last <= each.end
    # Each row lies in a window, and a life of windows is one of rows, or several that share a window.
    assert {-(-time // (60 * SECOND)) * 60 * SECOND for time in source.time} <= set(observed.time)
    of_rows, _, _ = divide(cls, source)
    assert len(lives) <= len(of_rows)
    assert {each.kind for each in lives} <= {each.kind for each in of_rows}
