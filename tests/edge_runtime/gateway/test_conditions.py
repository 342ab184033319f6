import json

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.gateway.conditions import SECOND, Change, Conditions, Delay, Key

STALE = Key("stale", "mill")


def test_a_condition_is_told_once_when_it_has_lasted_and_once_when_it_is_over():
    conditions = Conditions({"stale": Delay(on=10, off=5)})
    told = []
    for second in range(40):
        found = {STALE: "silent"} if 3 <= second < 20 or second == 22 else {}
        told += [(second, change.raised) for change in conditions.update(found, second * SECOND, 1000 + second)]
    assert told == [(13, True), (28, False)], "a flicker while it goes away begins its going away anew"


def test_a_cleared_condition_says_when_it_was_raised():
    conditions = Conditions({})
    assert conditions.update({STALE: "silent"}, 0, 111) == [Change(STALE, True, 111, "silent")]
    assert conditions.update({STALE: "still silent"}, 1, 112) == []
    assert conditions.update({}, 2, 113) == [Change(STALE, False, 111, "silent")]


def test_a_restart_continues_what_is_raised():
    before = Conditions({})
    before.update({STALE: "silent", Key("disk", ""): "full"}, 0, 111)
    after = Conditions({})
    after.restore(json.loads(json.dumps(before.state())))
    assert after.active == before.active
    assert after.update({STALE: "silent"}, 0, 200) == [Change(Key("disk", ""), False, 111, "full")]


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.sampled_from("abc"))), max_size=40))
def test_raised_and_cleared_take_turns_and_changes_repeat_the_state(steps):
    conditions, copy = Conditions({"a": Delay(2, 3), "b": Delay(0, 1)}), Conditions({})
    told, now = {}, 0
    for passed, found in steps:
        now += passed
        for change in conditions.update({Key(name, ""): name for name in found}, now * SECOND, now):
            assert told.get(change.key, False) != change.raised
            told[change.key] = change.raised
            copy.apply(change)
    assert copy.active == conditions.active
    assert {key for key, raised in told.items() if raised} == conditions.active.keys()
