"""Twins of the exported bundle: connected in mid-life, renewed, with an age and without."""

from dataclasses import replace

import numpy as np
import pytest

from data.observations import Observations
from data.resolve import read_class
from data.splits import read_splits
from edge_runtime.contract.event import Event
from edge_runtime.replay import Series, replay
from tests.pipeline import plant

WIDTH = ("rul", "rul_lower", "rul_upper", "warming_up")


def history(fleet, asset):
    """All observations of one machine in one piece, without snapshots."""
    with plant.inside(fleet.folder):
        parts = list(Observations(fleet.observations, read_class(fleet.fleet)).series(asset))
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("time", "readings", "event", "age")}
    return Series(**joined)


def watch(bundle, series, wanted):
    """Outputs `wanted` of one new twin, a row an observation."""
    twin = bundle.fleet(["m"])
    made = [outputs for _, _, outputs in replay(twin, {"m": [series]}, wanted)]
    return {name: np.concatenate([each[name] for each in made]) for name in wanted}


def width(said, cap):
    return np.minimum(said["rul_upper"], cap) - said["rul_lower"]


def whole_lives(fleet):
    """Held-out machines of one life that failed."""
    splits = read_splits(fleet.artifact("splits.json"))
    return [a for a in splits.test if a not in (*plant.CENSORED, plant.REPAIRED)]


def connected_late(series):
    """The same machine, but nobody watched its first 60 % or knows its age."""
    late = series.part(int(0.6 * len(series.time)), len(series.time))
    return replace(late, event=np.zeros_like(late.event), age=np.full_like(late.age, np.nan))


def test_a_twin_connected_in_mid_life_is_less_sure(fan):
    bundle = fan.bundle
    cap, narrow, wide = bundle.contract.labels.cap, [], []
    for asset in whole_lives(fan):
        series = history(fan, asset)
        late = connected_late(series)
        said_late = watch(bundle, late, WIDTH)
        said = {name: values[-len(late.time) :] for name, values in watch(bundle, series, WIDTH).items()}
        assert said_late["warming_up"][0] > 0.5  # it says that it has seen nothing yet
        assert np.isfinite(said_late["rul"]).all()
        warm = (said["warming_up"] <= 0) & (said_late["warming_up"] <= 0)
        assert warm.sum() > 20
        narrow.append(width(said, cap)[warm])
        wide.append(width(said_late, cap)[warm])
    assert np.concatenate(wide).mean() > np.concatenate(narrow).mean()


def test_where_age_is_required_a_twin_without_says_nothing(made):
    kiln = made("kiln")
    bundle = kiln.bundle
    cap = bundle.contract.labels.cap
    series = history(kiln, whole_lives(kiln)[0])
    said = watch(bundle, series, WIDTH)
    assert said["warming_up"][-1] == 0
    said = watch(bundle, connected_late(series), WIDTH)
    assert (said["warming_up"] == 1).all()
    assert (said["rul_lower"] == 0).all()
    assert np.isinf(said["rul_upper"]).all()
    assert (width(said, cap) == cap).all()


def test_where_age_means_nothing_it_changes_nothing(made):
    drum = made("drum")
    bundle = drum.bundle
    series = history(drum, whole_lives(drum)[0])
    wanted = [name for name in bundle.contract.outputs if name != "tick"]
    aged = replace(series, age=np.arange(len(series.time), dtype=np.float32))
    a, b = watch(bundle, series, wanted), watch(bundle, aged, wanted)
    for name in wanted:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("name", ["fan", "drum", "kiln"])
def test_two_lives_by_event_are_two_machines(made, name):
    fleet = made(name)
    bundle = fleet.bundle
    wanted = [output for output in bundle.contract.outputs if not output.endswith(".features")]
    first, second = (history(fleet, asset) for asset in whole_lives(fleet)[:2])
    # nothing received at first would be held over from the life before: its last good values are the asset's
    readings = second.readings.copy()
    readings[0] = np.where(np.isnan(readings[0]), np.nanmedian(readings, axis=0), readings[0])
    event = np.zeros_like(second.event)
    event[0] = Event.NEW_LIFE
    second = replace(second, readings=readings, event=event)
    later = second.time + (first.time[-1] - second.time[0]) + int(bundle.contract.time.max_gap * 2e9)
    both = Series(
        np.concatenate([first.time, later]),
        *(np.concatenate([getattr(s, key) for s in (first, second)]) for key in ("readings", "event", "age")),
    )
    alone, renewed = watch(bundle, second, wanted), watch(bundle, both, wanted)
    for output in wanted:
        np.testing.assert_array_equal(renewed[output][len(first.time) :], alone[output], err_msg=output)


def test_a_twin_can_be_saved_and_resumed(fan):
    bundle = fan.bundle
    series = history(fan, whole_lives(fan)[0])
    half = len(series.time) // 2
    wanted = ("rul", "rul_upper", "health", "alarm")
    whole = watch(bundle, series, wanted)
    twin, other = bundle.fleet(["m"]), bundle.fleet(["m"])
    list(replay(twin, {"m": [series.part(0, half)]}, wanted))
    other.restore(twin.snapshot())
    made = [outputs for _, _, outputs in replay(other, {"m": [series.part(half, len(series.time))]}, wanted)]
    for name in wanted:
        np.testing.assert_array_equal(np.concatenate([each[name] for each in made]), whole[name][half:])
