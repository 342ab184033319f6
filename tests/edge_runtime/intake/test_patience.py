"""What waits for an observation that never comes must not hold up what other machines send."""

import pytest

from tests.edge_runtime.intake.plant import AS_THEY_COME, CYCLES, Plant

ALL = {"flow": 1.0, "speed": 2.0, "trips": 0.0}


@pytest.mark.parametrize(("time", "patience"), [(AS_THEY_COME, 120), (CYCLES, 600)])
def test_a_waveform_of_a_silent_machine_gives_its_receipt_back(time, patience):
    plant = Plant(time=time)
    plant.add_waveform("a", 10, 5.0)
    for _ in range(10):
        plant.clock.turn(patience / 10)
        plant.round()
    assert plant.back == []
    plant.clock.turn(patience)
    plant.round()
    assert plant.back == [1]
    assert plant.intake.counts == {"unused": 1}
    plant.add("a", 20, ALL)
    (batch,) = plant.round()
    assert not batch.waveforms


def test_one_that_is_not_silent_keeps_its_waveforms():
    plant = Plant(time=AS_THEY_COME)
    for minute in range(30):
        plant.add_waveform("a", 60 * minute, minute)
        plant.clock.turn(60)
        plant.add("a", 60 * minute + 1, ALL)
        (batch,) = plant.round()
        assert batch.waveforms["shake"][0].max() == minute
    assert plant.back == sorted(plant.back) == list(range(1, 61))
    assert not plant.intake.counts


def test_a_late_event_is_acknowledged_at_once_and_still_counts():
    plant = Plant(time=AS_THEY_COME)
    plant.add("a", 20, ALL)
    plant.round()
    plant.add("a", 10, ALL | {"event": 1})
    plant.round()
    assert plant.back == [1, 2]
    again = Plant(time=AS_THEY_COME, clock=plant.clock)
    again.resume(journal=plant.journal)  # all that a crash leaves
    for one in (plant, again):
        one.add("a", 400, ALL | {"event": 0})
        one.round()
        assert one.events()[-1][:2] == (400, 1)
    again.add("a", 10, ALL | {"event": 1})  # the acknowledgement was lost
    again.add("a", 500, ALL)
    again.round()
    assert again.events()[-1][:2] == (500, 0)
