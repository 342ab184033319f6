import shutil
import threading
import time

import numpy as np
import pytest

from edge_runtime.errors import BundleError
from edge_runtime.gateway.swap import Swapper, model_of
from tests.edge_runtime.broker import until
from tests.edge_runtime.gateway.rig import SECOND, Rig, TurnedClock, twins_of
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract

ASSETS = ("a", "b", "c")
CYCLES = {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50, "assemble": False}


def state_with(**fingerprints):
    """The tiny twin's state under other fingerprints."""
    state = tiny_contract()["state"]
    slices = [part | {"fingerprint": fingerprints.get(part["name"], part["fingerprint"])} for part in state["slices"]]
    return state | {"slices": slices}


class Running:
    """A plant whose engine runs in a thread, with somebody who looks after its bundles."""

    def __init__(self, tmp_path, **options):
        self.folder = tmp_path / "bundle"
        tiny_bundle(self.folder, time=CYCLES)
        self.plant = Rig(tmp_path / "data", {"tiny": (self.folder, ASSETS)}, TurnedClock(), **options)
        self.reports = []
        self.swapper = Swapper(
            self.plant.engine,
            self.plant.journal,
            {"tiny": self.folder},
            self.make,
            lambda *report: self.reports.append(report),
            every=0.05,
            rests=0.2,
        )
        self.thread = None

    def make(self, name):
        twins = twins_of(self.folder, ASSETS, self.plant.clock)
        return twins, self.plant.streams(name, twins)

    @property
    def twins(self):
        return self.plant.engine.twins["tiny"]

    def start(self):
        self.thread = threading.Thread(target=self.plant.engine.run)
        self.thread.start()

    def send(self, times, assets=ASSETS, **values):
        for at in times:
            for asset in assets:
                self.plant.source.send(asset, at * SECOND, {"flow": float(at), "speed": 1.0} | values)

    def send_on(self, most):
        """A thread sends one observation of each machine after the other, `most` ahead, until the event is set."""
        enough, sent = threading.Event(), []

        def send():
            while not enough.is_set():
                sent.append(len(sent) + 1)
                self.send(sent[-1:])
                time.sleep(0.001)
                until(lambda: len(self.plant.source.waiting) < most or enough.is_set())

        sender = threading.Thread(target=send)
        sender.start()
        return enough, sent, sender

    def settle(self):
        """All that was sent has been advanced."""
        until(lambda: not self.plant.source.waiting)

    def stop(self):
        self.swapper.stop()
        if self.thread is not None:
            self.plant.engine.stop()
            self.thread.join(20)
        self.plant.close()


@pytest.fixture
def running(tmp_path):
    made = Running(tmp_path)
    yield made
    made.stop()


def test_under_load_no_observation_is_lost_and_numbers_go_on(running):
    running.start()
    enough, sent, sender = running.send_on(300)

    def go_on():
        at = len(sent) + 20
        until(lambda: running.twins.fleet.number.min() > at)

    ids = [running.twins.model_id]
    for turn in range(3):
        go_on()
        tiny_bundle(running.folder, time=CYCLES, title=f"Turn {turn}", state=state_with(elapsed=f"turn {turn}"))
        running.swapper.swap("tiny")
        ids.append(running.twins.model_id)
    go_on()
    enough.set()
    sender.join()
    running.settle()
    assert running.twins.fleet.number.tolist() == [len(sent)] * 3
    assert running.twins.fleet.state[:, 1].tolist() == [len(sent)] * 3, "history and meanwhile made up for the rest"
    running.stop()
    for row, asset in enumerate(ASSETS):
        for kind in ("observation", "prognosis"):
            assert sorted(running.plant.hub.of(kind, asset)) == sent
        made_by = [running.plant.hub.rows["prognosis", asset, row, number][1] for number in sent]
        assert [m for i, m in enumerate(made_by) if i == 0 or made_by[i - 1] != m] == ids, "each took over once"


def test_a_new_model_slower_than_the_load_is_warmed_up_by_the_engine_itself(running):
    """Beside the engine it would fall behind for ever; and no observation is lost while the engine waits for it."""
    make = running.make

    def slow(name):
        twins, streams = make(name)
        advance = twins.fleet.advance
        twins.fleet.advance = lambda *batch, **options: (time.sleep(0.004), advance(*batch, **options))[1]
        return twins, streams

    running.make = running.swapper._make = slow
    running.start()
    enough, sent, sender = running.send_on(60)
    until(lambda: running.twins.fleet.number.min() > 20)
    tiny_bundle(running.folder, time=CYCLES, state=state_with(elapsed="new"))
    try:
        running.swapper.swap("tiny")
    finally:
        enough.set()
        sender.join()
    running.settle()
    assert running.twins.fleet.number.tolist() == [len(sent)] * 3
    assert running.twins.fleet.state[:, 1].tolist() == [len(sent)] * 3, "it has seen all of it"


def test_warmed_up_by_history_a_new_model_knows_what_it_would_have(running):
    running.start()
    running.send(range(1, 30))
    running.settle()
    before = running.twins.fleet.state.copy()
    tiny_bundle(running.folder, time=CYCLES, state=state_with(elapsed="new", peak="new"))
    taken = running.swapper.swap("tiny")
    assert taken.kept == ()
    assert running.twins.fleet.state.tobytes() == before.tobytes()
    assert running.twins.fleet.number.tolist() == [29] * 3
    ((code, detail, severity),) = running.reports
    assert (code, severity) == ("bundle", "info")
    assert "warmed up by 87 observations" in detail


def test_equal_slices_go_over_and_history_is_not_needed(running):
    running.start()
    running.send(range(1, 5))
    running.settle()
    before = running.twins.fleet.state.copy()
    tiny_bundle(running.folder, time=CYCLES, title="The same, better explained")
    assert running.swapper.swap("tiny").anew == ()
    assert running.twins.fleet.state.tobytes() == before.tobytes()
    assert "by 0 observations" in running.reports[0][1]


def test_alarms_stay_active_until_the_new_model_knows_better(tmp_path):
    running = Running(tmp_path, history_bytes=0)
    plant = running.plant
    running.send(range(1, 5), "ab")
    plant.step()
    assert [a["state"] for a in plant.hub.alarms] == ["raised", "raised", "changed", "changed"]
    raised = plant.hub.alarms[0]["id"]
    running.send([5], "c")
    plant.step()  # and a checkpoint, after which nothing is kept
    plant.clock.turn(400)
    plant.step()
    plant.step()
    running.start()
    tiny_bundle(running.folder, time=CYCLES, state=state_with(elapsed="new"))
    assert running.swapper.swap("tiny").anew == ("elapsed",)
    told = len(plant.hub.alarms)
    running.send([6], "ab")
    running.settle()
    assert running.twins.fleet.state[:2, 1].tolist() == [1, 1], "nothing was left to warm up by"
    assert running.twins.fleet.number[:2].tolist() == [5, 5]
    assert len(plant.hub.alarms) == told, "level 0 of a twin that is warming up is no news"
    assert running.twins.occurrences.active.keys() == {"a", "b"}
    running.send([7], "a", age=1.0, event=1)  # knows its age, so it is warm
    until(lambda: len(plant.hub.alarms) > told)
    assert (plant.hub.alarms[-1]["id"], plant.hub.alarms[-1]["state"]) == (raised, "cleared")
    running.stop()


def test_a_restart_after_a_swap_goes_on_with_the_new_model(running):
    running.start()
    running.send(range(1, 5))
    running.settle()
    tiny_bundle(running.folder, time=CYCLES, title="Second")
    running.swapper.swap("tiny")
    running.send(range(5, 9))
    running.settle()
    model, state = running.twins.model_id, running.twins.fleet.state.copy()
    running.stop()
    plant = running.plant
    again = Rig(plant.folder, {"tiny": (running.folder, ASSETS)}, plant.clock, plant.source, plant.hub)
    assert again.resumed.taken_over == {}
    assert again.engine.twins["tiny"].model_id == model
    assert again.fleet().state.tobytes() == state.tobytes()
    again.close()


def test_a_bundle_exchanged_while_the_gateway_was_killed(running):
    """Equal slices as the checkpoint has them; the entries after it are advanced by the new model."""
    plant = running.plant
    running.send(range(1, 5))
    plant.step()
    plant.clock.turn(3)
    plant.step()
    running.send(range(5, 8))
    plant.step()
    plant.kill(committed=True)
    old = model_of(running.folder)
    tiny_bundle(running.folder, time=CYCLES, state=state_with(peak="new"))
    again = Rig(plant.folder, {"tiny": (running.folder, ASSETS)}, plant.clock, plant.source, plant.hub)
    assert again.resumed.taken_over["tiny"].anew == ("peak",)
    assert again.fleet().number.tolist() == [7] * 3
    assert again.fleet().state[:, :2].tobytes() == plant.fleet().state[:, :2].tobytes()
    again.clock.turn(3)
    again.step()
    made_by = [again.hub.rows["prognosis", "a", 0, number][1] for number in range(1, 8)]
    assert made_by == [old] * 4 + [again.engine.twins["tiny"].model_id] * 3
    told = [(a["asset"], a["number"], a["state"]) for a in again.hub.alarms if a["asset"] == "a"]
    assert told == [("a", 2, "raised"), ("a", 4, "changed")], "told once"
    running.send([8], "a", age=1.0, event=1)
    again.step()
    again.close()


def test_new_channels_and_windows_take_over_what_they_share(tmp_path):
    """The next bundle has its channels in another order, and assembles: what waits in open windows goes over."""
    running = Running(tmp_path)
    channels = tiny_contract()["channels"]
    seconds = {"unit": "s", "interval": 60, "tick": 600, "max_gap": 180}
    folder = tiny_bundle(tmp_path / "assembling", time=seconds)
    clock = TurnedClock()
    plant = Rig(tmp_path / "second", {"tiny": (folder, ASSETS)}, clock)
    start = clock.utc()
    for minute in range(3):
        plant.source.send("a", start + minute * 60 * SECOND + 1, {"flow": 1.0 + minute, "speed": 100.0})
        clock.turn(60)
        plant.step()
    number = plant.fleet().number[0]
    plant.source.send_waveform("a", "shake", start + 2 * 60 * SECOND + 2, [[0, 5, 0, 0]])
    plant.step()
    tiny_bundle(folder, time=seconds, channels=channels[::-1], state=state_with(elapsed="new"))

    def make(name):
        twins = twins_of(folder, ASSETS, clock)
        return twins, plant.streams(name, twins)

    thread = threading.Thread(target=plant.engine.run)
    thread.start()
    Swapper(plant.engine, plant.journal, {"tiny": folder}, make, lambda *_: None).swap("tiny")
    plant.source.send("a", start + 3 * 60 * SECOND + 1, {"flow": 7.0, "speed": 300.0})
    clock.turn(60)
    plant.source.send("a", start + 4 * 60 * SECOND + 1, {"flow": 8.0, "speed": 300.0})
    until(lambda: not plant.source.waiting)
    until(lambda: plant.engine.twins["tiny"].fleet.number[0] >= number + 2)
    plant.engine.stop()
    thread.join()
    plant.close()
    observations = plant.hub.of("observation", "a")
    assert np.frombuffer(observations[3][2]["shake"], np.float32) == [5], "and so does a waveform"
    readings = {n: np.frombuffer(row[1][0], np.float32).tolist() for n, row in observations.items()}
    assert readings[1] == [1.0, 100.0]
    assert readings[3] in ([3.0, 100.0], [100.0, 3.0]), "its window was open when the bundle changed"
    assert readings[4] == [300.0, 7.0]
    running.stop()


def test_a_bad_bundle_is_refused_once_and_the_old_one_runs_on(running):
    running.swapper.start()
    running.start()
    model = running.twins.model_id
    tiny_bundle(running.folder, time=CYCLES, title="Torn")
    (running.folder / "twin.onnx").write_bytes(b"half of it")
    until(lambda: running.reports)
    time.sleep(0.3)
    ((code, detail, severity),) = running.reports
    assert (code, severity) == ("bundle", "error")
    assert "truncated or altered" in detail
    assert running.twins.model_id == model
    running.swapper.request()
    until(lambda: len(running.reports) == 2, what="a request to try again")
    tiny_bundle(running.folder, time=CYCLES, title="Whole")
    until(lambda: running.twins.model_id != model, what="the next good one being found by itself")


def tear_manifest(folder):
    (folder / "manifest.json").write_text('{"model_id"')


def tear_graph(folder):
    with (folder / "twin.onnx").open("ab") as file:
        file.write(b"x")


def take_away(folder):
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [(tear_manifest, "manifest.json"), (tear_graph, "truncated or altered"), (take_away, "No such file")],
)
def test_damage_to_the_bundle_that_runs_is_told_once_and_its_repair_noticed(running, tmp_path, damage, told):
    whole = tmp_path / "whole"
    shutil.copytree(running.folder, whole)
    running.swapper.start()
    running.start()
    damage(running.folder)
    until(lambda: running.reports)
    time.sleep(0.5)
    ((code, detail, severity),) = running.reports
    assert (code, severity) == ("bundle", "error")
    assert "a restart could not use what lies there now" in detail
    assert told in detail
    assert told in running.swapper.problem("tiny")
    running.swapper.request()
    until(lambda: len(running.reports) == 2, what="whoever asks being told again")
    shutil.copytree(whole, running.folder, dirs_exist_ok=True)
    until(lambda: running.swapper.problem("tiny") is None, what="the repair being noticed")
    assert len(running.reports) == 2


def test_a_request_does_not_wait_until_a_folder_has_rested(running):
    running.swapper = Swapper(
        running.plant.engine,
        running.plant.journal,
        {"tiny": running.folder},
        running.make,
        lambda *report: running.reports.append(report),
        every=0.05,
        rests=3600,
    )
    running.swapper.start()
    running.start()
    tear_graph(running.folder)
    time.sleep(0.3)
    assert running.reports == [], "somebody may be copying"
    running.swapper.request("tiny")
    until(lambda: running.reports)
    assert running.swapper.problem("tiny")


def test_a_copy_that_was_looked_at_too_early_is_tried_again_when_it_is_complete(running, tmp_path):
    running.swapper.start()
    running.start()
    model = running.twins.model_id
    tiny_bundle(tmp_path / "next", time=CYCLES, title="Next")
    (running.folder / "twin.onnx").write_bytes((tmp_path / "next" / "twin.onnx").read_bytes()[:100])
    shutil.copy(tmp_path / "next" / "manifest.json", running.folder)
    until(lambda: running.swapper.problem("tiny"))
    shutil.copytree(tmp_path / "next", running.folder, dirs_exist_ok=True)
    until(lambda: running.twins.model_id != model)
    until(lambda: running.swapper.problem("tiny") is None)


def test_another_class_is_no_newer_bundle(running):
    tiny_bundle(running.folder, time=CYCLES, asset_class="huge")
    running.start()
    with pytest.raises(BundleError, match="another class needs another name"):
        running.swapper.swap("tiny")


def test_the_model_of_a_folder(tmp_path):
    assert model_of(tmp_path) is None
    (tmp_path / "manifest.json").write_text("[1")
    assert model_of(tmp_path) is None
    (tmp_path / "manifest.json").write_text('{"model_id": 3}')
    assert model_of(tmp_path) is None
    assert len(model_of(tiny_bundle(tmp_path / "bundle"))) == 64
