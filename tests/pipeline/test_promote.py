"""Promotion and rollback in a real MLflow registry, with bundles that run."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import edge_runtime.bench
from tests.edge_runtime.tiny import tiny_golden
from tests.pipeline import plant
from tests.pipeline.promotion import GOOD, bundle, changed
from training import promote, tracking
from training.calibrate import out_of_fold
from training.calibration import Calibration
from training.dataset import Dataset
from training.machine_errors import MachineErrors, rmse
from training.register import register
from training.registry import Registry, RegistryError

RULES = """\
accuracy: {worse: 1, guess: 0.75}
coverage: {below: 0.03, above: 0.05}
false_alarms: {most: 0.2, worse: 0.1}
parity: {within_tolerance: 0.999, max_error: 0.01}
canaries: {missed: 0}
latency: {machines: 10, rounds: 1, most: 1e6, worse: 1e6}
"""
BAD = changed(GOOD, rul__cv__rmse=5.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A registry for all tests of this file, each with a fleet of its own: to make one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    plant.track(folder, folder / "store")
    (folder / "mlflow" / "promotion.yaml").write_text(RULES)
    return folder


@pytest.fixture
def fleet(store, request, tmp_path, monkeypatch):
    """`fleet.register("first")`: another version of the fleet; `fleet.run("--dry-run")`: the command."""
    name = request.node.name.replace("[", "-").replace("]", "")[:60]
    monkeypatch.setattr(edge_runtime.bench, "BUDGET", 0.01)
    with plant.inside(store):
        client = tracking.library().MlflowClient()

        def version(title, quality=GOOD, **more):
            return register(name, bundle(tmp_path / title, quality, title=title, fleet=name, **more))

        def tags(number):
            found = client.get_model_version(name, number).tags
            return {key.removeprefix("promotion."): value for key, value in found.items() if "promotion." in key}

        yield SimpleNamespace(
            name=name,
            folder=tmp_path,
            client=client,
            register=version,
            tags=tags,
            run=lambda *options: promote.main([name, *options]),
            aliases=lambda: Registry(name).aliases(),
        )


def test_the_first_version_is_judged_by_the_absolute_limits(fleet, capsys):
    first = fleet.register("first", BAD)
    assert fleet.aliases() == {"challenger": first}
    assert fleet.run() == 3
    told = capsys.readouterr().out
    assert "not promoted: accuracy. None is the champion." in told
    assert fleet.aliases() == {"challenger": first}
    tags = fleet.tags(first)
    assert tags["verdict"] == "refused: accuracy"
    assert tags["accuracy"].startswith("failed: 5 (champion none, limit ≤ 4.5)")
    assert tags["coverage"].startswith("passed: 90.5%")
    second = fleet.register("second")
    assert fleet.run() == 0
    assert fleet.aliases() == {"champion": second}
    assert fleet.tags(second)["verdict"] == "promoted"
    assert fleet.tags(second)["against"] == "none"


def test_promotion_leaves_a_way_back_and_rollback_takes_it(fleet, capsys):
    first = fleet.register("first")
    assert fleet.run() == 0
    second = fleet.register("second")
    assert fleet.run() == 0
    assert fleet.aliases() == {"champion": second, "previous": first}
    assert f"promoted: version {second} is the champion; back to version {first}" in capsys.readouterr().out
    assert fleet.tags(first)["replaced_by"] == second
    assert fleet.tags(second)["against"] == first

    assert fleet.run("--rollback", "--dry-run") == 0
    assert fleet.aliases() == {"champion": second, "previous": first}
    assert fleet.run("--rollback", "--reason", "alarms at night") == 0
    assert fleet.aliases() == {"champion": first}
    undone = fleet.tags(second)
    assert (undone["verdict"], undone["rolled_back_to"], undone["reason"]) == ("rolled back", first, "alarms at night")
    assert fleet.tags(first)["restored_from"] == second
    assert fleet.run("--rollback") == 1
    assert "to go back to: a promotion leaves one behind" in capsys.readouterr().err

    third = fleet.register("third")
    assert fleet.run() == 0
    assert fleet.aliases() == {"champion": third, "previous": first}


def test_a_challenger_that_is_worse_stays_one(fleet, capsys):
    first = fleet.register("first")
    fleet.run()
    second = fleet.register("second", changed(BAD, canaries=None))
    assert fleet.run() == 3
    told = capsys.readouterr().out
    assert "not promoted: accuracy; canaries. Version 1 is the champion." in told
    assert "canaries: the bundle says nothing of it" in told
    assert fleet.aliases() == {"champion": first, "challenger": second}


def test_a_dry_run_changes_nothing(fleet, capsys):
    first = fleet.register("first")
    assert fleet.run("--dry-run") == 0
    assert "would be promoted: nothing was changed" in capsys.readouterr().out
    assert fleet.aliases() == {"challenger": first}
    assert fleet.tags(first) == {}
    second = fleet.register("second", BAD)
    assert fleet.run("--dry-run") == 3
    assert fleet.tags(second) == {}


def test_a_challenger_that_does_not_run_here_is_refused_for_that_alone(fleet, capsys):
    golden = tiny_golden()
    golden["out.rul"] = golden["out.rul"] + 1
    with pytest.raises(Exception, match="self-test"):  # register itself refuses it
        fleet.register("first", golden=golden)
    first = fleet.register("sound")
    # Whoever runs the registry lost a byte.
    source = Path(fleet.client.get_model_version(fleet.name, first).source.removeprefix("file://"))
    graph = (source / "twin.onnx").read_bytes()
    (source / "twin.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    assert fleet.run() == 3
    told = capsys.readouterr().out
    assert "not promoted: bundle." in told
    assert "altered" in told
    assert fleet.tags(first)["verdict"] == "refused: bundle"


def test_a_champion_that_does_not_run_is_no_measure(fleet, capsys):
    first = fleet.register("first")
    fleet.run()
    second = fleet.register("second")
    source = Path(fleet.client.get_model_version(fleet.name, first).source.removeprefix("file://"))
    (source / "twin.onnx").write_bytes(b"nothing")
    assert fleet.run() == 1
    told = capsys.readouterr().err
    assert f"the champion, version {first}, does not run here" in told
    assert "take its alias 'champion' away" in told
    assert fleet.aliases() == {"champion": first, "challenger": second}
    # Nor is it a way back.
    fleet.client.delete_registered_model_alias(fleet.name, "champion")
    fleet.run()
    fleet.client.set_registered_model_alias(fleet.name, "previous", first)
    assert fleet.run("--rollback") == 1
    assert "it is no way back" in capsys.readouterr().err
    assert fleet.aliases() == {"champion": second, "previous": first}


def test_what_cannot_be_judged_ends_with_1_and_says_what_to_do(fleet, capsys):
    assert fleet.run() == 1
    assert f"has no model '{fleet.name}'" in capsys.readouterr().err
    fleet.register("first")
    fleet.run()
    assert fleet.run() == 1
    assert "has no challenger (champion: version 1)" in capsys.readouterr().err
    assert fleet.run("--rollback") == 1
    assert "no version with the alias 'previous'" in capsys.readouterr().err


def test_an_alias_that_somebody_moved_meanwhile_is_left_alone(fleet):
    first, second = fleet.register("first"), fleet.register("second")
    registry = Registry(fleet.name)
    with pytest.raises(RegistryError, match=f"challenger of '.*' was version {first}, and is {second} by now"):
        registry.promote(first, None)
    registry.promote(second, None)
    third = fleet.register("third")
    with pytest.raises(RegistryError, match=f"champion of '.*' was version None, and is {second}"):
        registry.promote(third, None)
    with pytest.raises(RegistryError, match="nothing was changed"):
        registry.roll_back(second, first, "")
    assert fleet.aliases() == {"champion": second, "challenger": third}


def test_the_same_model_is_judged_anew_when_more_is_known_of_it(fleet):
    first = fleet.register("first", changed(GOOD, canaries=None))
    assert fleet.run() == 3
    # Evaluated by a newer version: the graph and its contract are the same.
    again = bundle(fleet.folder / "again", GOOD, title="first", fleet=fleet.name)
    second = register(fleet.name, again)
    assert second != first
    assert register(fleet.name, again) == second
    assert fleet.run() == 0
    assert fleet.aliases() == {"champion": second}


def test_a_registry_that_does_not_answer_is_named(fleet, monkeypatch, capsys):
    def refuse(*_):
        raise OSError("no route to host")

    monkeypatch.setattr("mlflow.MlflowClient.search_registered_models", refuse)
    assert fleet.run() == 1
    assert "cannot be asked (no route to host): see MLFLOW_TRACKING_URI" in capsys.readouterr().err


def test_artifacts_that_are_not_there_are_named(fleet, capsys):
    first = fleet.register("first")
    source = Path(fleet.client.get_model_version(fleet.name, first).source.removeprefix("file://"))
    source.rename(source.with_name("elsewhere"))
    assert fleet.run() == 1
    assert f"version {first} of '{fleet.name}' cannot be fetched from" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fan", "kiln", "drum"])
def test_errors_by_machine_are_those_of_the_figures(made, name):
    """What pairs are made of has the RMSE that evaluation says, and the bundle carries it."""
    of = made(name)
    errors = MachineErrors.read(of.artifact("bundle"))
    with plant.inside(of.folder):
        dataset = Dataset.of(name)
        table = out_of_fold(dataset)
        again = MachineErrors.of(table, Calibration.load(of.artifact("calibration.json")))
        heads, rows = dataset.heads, dataset.training
    assert errors == again
    cross = of.json("cross_validation.json")
    assert [*errors.heads] == heads
    for head, own in errors.heads.items():
        assert rmse(own) == pytest.approx(cross[head]["blend"]["rmse"])
        assert own.keys() == set(rows.asset[rows.exact & rows.warm])
    assert {*errors.guesses} == ({"mean"} if name == "drum" else {"mean", "age"})
    judged = table[table.exact & table.warm]
    spread = rmse(errors.guesses["mean"]) ** 2
    assert spread >= judged.groupby("asset").lower.var(ddof=0).mean()  # no constant does better on its own machine
