"""dvc.yaml: every stage runs a module that exists, and reruns when the code, data or parameters it reads change."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from training.params import PARAMS, read_params

ROOT = Path(__file__).parents[2]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
MADE = ("artifacts/", "data/raw/", "data/observations/")  # by the stages themselves


def paths(entries):
    """The paths of a list of outputs or dependencies, some with options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def module(stage):
    return re.fullmatch(r"python -m ([\w.]+) \$\{item\.fleet\}", STAGES[stage]["cmd"])[1]


def outputs(stage):
    return [path for kind in ("outs", "metrics", "plots") for path in paths(STAGES[stage].get(kind, []))]


def test_the_pipeline_is_a_matrix_over_the_fleets_of_params():
    assert PIPELINE["vars"] == ["params.yaml"]
    assert all(stage["matrix"] == {"fleet": "${fleets}"} for stage in STAGES.values())
    assert read_params(ROOT / PARAMS).fleets == ["pump"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_a_module_and_depends_on_it(stage):
    path = module(stage).replace(".", "/") + ".py"
    assert (ROOT / path).is_file()
    assert path in paths(STAGES[stage]["deps"])
    assert 'if __name__ == "__main__":' in (ROOT / path).read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_depends_on_is_there_or_made_before_it(stage):
    made = {path for other in STAGES if other != stage for path in outputs(other)}
    for path in paths(STAGES[stage]["deps"]):
        assert path in made if path.startswith(MADE) else (ROOT / path).exists()


@pytest.mark.parametrize("stage", ["evaluate", "export"])
def test_canaries_come_before_what_looks_at_test_machines(stage):
    assert set(outputs("canaries")) <= set(paths(STAGES[stage]["deps"]))


def test_nothing_is_made_twice():
    made = [path for stage in STAGES for path in outputs(stage)]
    assert len(made) == len(set(made))
    assert all("${item.fleet}" in path for path in made)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_the_sections_of_params_it_reads(stage):
    """Text of the module alone: `read_params().xgboost` needs `params: [xgboost]`."""
    text = (ROOT / (module(stage).replace(".", "/") + ".py")).read_text()
    read = set(re.findall(r"read_params\(\)\.(\w+)", text))
    assert read <= set(STAGES[stage].get("params", []))


@pytest.mark.parametrize("stage", [name for name in STAGES if module(name).startswith("training.")])
def test_a_stage_depends_on_the_modules_of_training_that_its_own_imports(stage):
    """One step deep; what reads parameters, tracks runs and prints figures changes nothing that a stage makes."""
    path = ROOT / (module(stage).replace(".", "/") + ".py")
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "training":
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("training."):
            imported.add(node.module.split(".")[1])
    named = {Path(path).stem for path in paths(STAGES[stage]["deps"]) if path.startswith("training/")}
    assert imported - named <= {"params", "tracking", *(["metrics"] if stage.startswith("train_") else [])}
