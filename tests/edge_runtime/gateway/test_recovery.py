"""A gateway that is killed again and again tells the centre what it would have told without, and knows the same."""

import contextlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_runtime.contract.assignment import AssignedAlarm, AssignedSettings, AssignedState, Assignment
from edge_runtime.errors import AssignmentRefusedError
from edge_runtime.gateway.assigned import decide
from edge_runtime.gateway.recovery import Resumed
from tests.edge_runtime.gateway.rig import MINUTE, SECOND, START, Rig, TurnedClock
from tests.edge_runtime.tiny import tiny_bundle

ASSETS = ("a", "b", "c")
KINDS = {
    "assembled": {"unit": "s", "interval": 60, "tick": 600, "max_gap": 180},
    "cycles": {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50, "assemble": False},
}
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sets(st.sampled_from(ASSETS), min_size=1), st.sampled_from([0, 0, 0, 1])),
        st.tuples(st.just("wave"), st.sampled_from(ASSETS), st.integers(-9, 9)),
        st.tuples(st.just("turn"), st.sampled_from([1, 20, 50, 70])),
        st.tuples(st.just("step")),
        st.tuples(
            st.just("assign"),
            st.sampled_from(ASSETS),
            st.integers(0, 4),
            st.none() | st.integers(1, 4),
            st.none() | st.integers(1, 40),
        ),
        st.tuples(st.just("kill"), st.booleans()),
    ),
    min_size=5,
    max_size=30,
)


@pytest.fixture(scope="module", params=list(KINDS))
def bundle(request, tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / request.param, time=KINDS[request.param])


def live(folder, bundle, steps, *, kills):
    """Run through `steps`; the plant at the end. Killed or not, the same is sent."""
    folder.mkdir()
    clock = TurnedClock()
    # A waveform is not journalled before its observation: where windows are assembled, one that comes when its window
    # is about to close may belong to the next after a restart. Both are right, but not the same.
    waveforms = "cycles" in bundle.name
    plant = Rig(folder, {"tiny": (bundle, ASSETS)}, clock)
    killed = 0
    for number, (what, *how) in enumerate(steps):
        if what != "kill":
            plant.engine.step()  # arrivals are taken in when they come, not when the clock has gone on
            clock.turn(0.5)
        if what == "send":
            assets, event = how
            for asset in sorted(assets):
                values = {"flow": float(number), "speed": 100.0} | ({"event": 1} if event else {})
                plant.source.send(asset, clock.utc(), values)
        elif what == "wave" and waveforms:
            plant.source.send_waveform(how[0], "shake", clock.utc(), [[how[1], 0, 0, 0]])
        elif what == "turn":
            clock.turn(how[0])
        elif what == "step":
            plant.step()
        elif what == "assign":
            if not waveforms:  # what a restart brings late closes its window later, and settings may be told in between
                wait(plant, clock, [30] * 10)
            assign(plant, clock, *how)
            plant.step()
        elif what == "kill" and kills:
            plant.kill(committed=how[0])
            killed += 1
            plant = Rig(folder, {"tiny": (bundle, ASSETS)}, clock, plant.source, plant.hub)
    wait(plant, clock, [*[30] * 20, 1_000_000, 0])  # at last, waveforms of observations that never came are given up
    plant.step()
    for row, asset in enumerate(ASSETS):
        assert plant.engine.layouts["tiny"][-1].assets[row] == asset
    assert len(plant.engine.layouts["tiny"]) == 1
    plant.finish()
    return plant


def wait(plant, clock, pauses):
    for seconds in pauses:
        plant.step()
        clock.turn(seconds)


def assign(plant, clock, asset, term, version, number):
    """What the centre tells, if it may be taken."""
    twins = plant.engine.twins["tiny"]
    state = None
    if number is not None:
        alarm = AssignedAlarm(f"{asset}-{number}", 1 + number % 3, START, number) if number % 2 else None
        values = np.array([number, number, 0], np.float32)
        state = AssignedState.of(twins.model_id, term, number, clock.utc() - MINUTE, values, alarm)
    given = None if version is None else AssignedSettings(version, {"offset": float(version)})
    assignment = Assignment("a-1", "gw-7", asset, "tiny", term, START, given, state)

    def take(work):
        with contextlib.suppress(AssignmentRefusedError):
            effect, _ = decide(twins, assignment)
            if effect is not None:
                plant.engine.assign("tiny", effect, work)

    plant.engine.call(take)


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=_steps)
def test_killed_or_not_it_comes_to_the_same(tmp_path_factory, bundle, steps):
    folder = tmp_path_factory.mktemp("live")
    calm, harried = (live(folder / str(kills), bundle, steps, kills=kills) for kills in (False, True))
    for name in ("state", "time", "number", "settings"):
        assert getattr(harried.fleet(), name).tobytes() == getattr(calm.fleet(), name).tobytes(), name
    for kind in ("observation", "prognosis"):
        for asset in ASSETS:
            assert harried.hub.of(kind, asset) == calm.hub.of(kind, asset)
    assert sorted(harried.hub.alarms, key=_key) == sorted(calm.hub.alarms, key=_key)
    assert _summed(harried.hub) == _summed(calm.hub)
    assert calm.source.waiting == harried.source.waiting == {}
    terms = [plant.engine.twins["tiny"].machines.term.tolist() for plant in (calm, harried)]
    assert terms[0] == terms[1]
    assert calm.engine.twins["tiny"].assigned == harried.engine.twins["tiny"].assigned
    occurrences = [plant.engine.twins["tiny"].occurrences.state() for plant in (calm, harried)]
    assert occurrences[0] == occurrences[1]


def _key(alarm):
    return alarm["asset"], alarm["term"], alarm["number"]


def _summed(hub):
    """Observations in summaries, by machine and interval: rows of the same ones add up."""
    counts = Counter()
    for (kind, *key), (row, _) in hub.rows.items():
        if kind == "summary":
            counts[key[0], key[-1]] += row[0]
    return counts


def test_a_restart_in_order_goes_on_where_it_was(tmp_path, bundle):
    clock = TurnedClock()
    plant = Rig(tmp_path / "data", {"tiny": (bundle, ASSETS)}, clock)
    for _ in range(4):
        for asset in ASSETS:
            plant.source.send(asset, clock.utc(), {"flow": 1.0, "speed": 2.0})
        plant.step()
        clock.turn(60)
    plant.step()
    plant.finish()
    again = Rig(tmp_path / "data", {"tiny": (bundle, ASSETS)}, clock, plant.source, plant.hub)
    assert again.resumed == Resumed(entries=0, observations=0)
    for name in ("state", "time", "number"):
        assert getattr(again.engine.twins["tiny"].fleet, name).tolist() == getattr(plant.fleet(), name).tolist()
    again.close()


def test_machines_may_come_and_go_while_the_gateway_is_down(tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle", time=KINDS["cycles"])
    clock = TurnedClock()
    plant = Rig(tmp_path / "data", {"tiny": (bundle, ("a", "b", "c"))}, clock)
    for time, assets in ((1, "abc"), (2, "bc"), (3, "c")):
        for asset in assets:
            plant.source.send(asset, time * SECOND, {"flow": ord(asset), "speed": 0.0})
        plant.step()
    plant.kill(committed=True)
    again = Rig(tmp_path / "data", {"tiny": (bundle, ("new", "c", "a"))}, clock, plant.source, plant.hub)
    assert again.resumed.observations == 4, "those of b are left out"
    assert again.fleet().number.tolist() == [0, 3, 1]
    assert again.fleet().time.tolist() == [0, 3 * SECOND, SECOND]
    assert again.fleet().state[1].tolist() == plant.fleet().state[2].tolist()
    assert list(again.engine.twins["tiny"].occurrences.active) == ["c"], "an alarm goes with its machine"
    again.source.send("c", 4 * SECOND, {"flow": 1.0})
    again.step()
    assert [(a["asset"], a["state"], a["number"]) for a in again.hub.alarms][-1] == ("c", "changed", 4)
    again.kill(committed=True)
    third = Rig(tmp_path / "data", {"tiny": (bundle, ("new", "c", "a"))}, clock, again.source, again.hub)
    assert third.fleet().number.tolist() == [0, 4, 1]
    third.clock.turn(3)
    third.step()
    assert list(third.hub.of("observation", "c")) == [1, 2, 3, 4]
    third.close()


def test_entries_of_a_class_that_is_gone_are_passed_over(tmp_path, bundle):
    other = tiny_bundle(tmp_path / "other", asset_class="other")
    clock = TurnedClock()
    both = {"tiny": (bundle, ASSETS), "other": (other, ("x",))}
    plant = Rig(tmp_path / "data", both, clock)
    plant.source.send("x", clock.utc(), {"flow": 1.0, "speed": 2.0})
    plant.source.send("a", clock.utc(), {"flow": 1.0, "speed": 2.0})
    plant.kill(committed=True)
    again = Rig(tmp_path / "data", {"tiny": both["tiny"]}, clock, plant.source, plant.hub)
    again.step()
    assert again.engine.twins.keys() == {"tiny"}
    again.close()


@pytest.mark.parametrize("replay", [1e9, 0.0])
def test_a_checkpoint_comes_sooner_when_much_would_have_to_be_computed_again(replay, tmp_path, bundle):
    clock = TurnedClock()
    plant = Rig(tmp_path / "data", {"tiny": (bundle, ("a",))}, clock, checkpoint_every=1e6, replay=replay)
    for _ in range(21):
        plant.source.send("a", clock.utc(), {"flow": 1.0, "speed": 2.0})
        plant.engine.step()
        clock.turn(MINUTE / SECOND)
    plant.kill(committed=True)
    again = Rig(tmp_path / "data", {"tiny": (bundle, ("a",))}, clock, plant.source, plant.hub)
    assert (again.resumed.observations > 15) == (replay > 0)
    assert (again.resumed.observations < 2) == (replay == 0)
    again.close()


def test_states_are_those_of_one_run_to_the_bit(tmp_path, bundle):
    """The same batches once more, in a new process' memory: not only close."""
    clock, random = TurnedClock(), np.random.default_rng(4)
    plant = Rig(tmp_path / "data", {"tiny": (bundle, ASSETS)}, clock, checkpoint_every=1e6)
    for _ in range(30):
        for asset in ASSETS:
            plant.source.send(asset, clock.utc(), {"flow": random.normal(), "speed": random.normal()})
        plant.engine.step()
        clock.turn(MINUTE / SECOND)
    plant.step()
    plant.kill(committed=True)
    again = Rig(tmp_path / "data", {"tiny": (bundle, ASSETS)}, clock, plant.source, plant.hub)
    assert again.resumed.observations >= 28 * 3
    assert again.fleet().state.tobytes() == plant.fleet().state.tobytes()
    again.close()
