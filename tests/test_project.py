"""The project's face: what the README says can be done, is complete, and works as far as a test can try it."""

import ast
import inspect
import json
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tomllib

from data import asset_class, class_file, ingest, resolve, splits
from data.fetch import fetch
from edge_runtime.gateway.config import read_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def block(language, beginning):
    """The one code block of the README in `language` that begins so."""
    (found,) = [b for b in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if b.startswith(beginning)]
    return found


def section(title):
    return re.split(r"\n##+ ", README.split(f"# {title}\n", 1)[1])[0]


def test_it_starts_with_two_commands():
    commands = re.findall(r"^    (.+)$", section("Start"), re.MULTILINE)
    assert commands == ["pip install uv && uv run dvc repro", "uv run pytest"]


def test_what_it_links_to_exists():
    links = re.findall(r"\]\(([^):#]+)\)", README)
    assert "docs/flow.svg" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_picture_has_a_title():
    tree = ElementTree.parse(ROOT / "docs/flow.svg")
    assert tree.find("{http://www.w3.org/2000/svg}title").text


def specs():
    """Every section that a class file may have."""
    models = [model for _, model in inspect.getmembers(asset_class, inspect.isclass)]
    return [m for m in models if issubclass(m, asset_class.Spec) and m is not asset_class.Spec]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.__name__)
def test_every_key_of_a_class_file_is_explained(spec):
    quoted = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", section("Every key")))))
    fields = set(spec.model_fields) - {"subset"}  # comes from the name of the fleet
    assert fields - quoted == set()


def test_the_example_class_goes_from_its_script_to_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classes = tmp_path / "classes"
    classes.mkdir()
    (classes / "fan.yaml").write_text(block("yaml", "name: fan"), encoding="utf-8")
    script = tmp_path / "make_fans.py"
    script.write_text(block("python", '"""Made-up records'), encoding="utf-8")
    runpy.run_path(str(script))
    monkeypatch.setattr(resolve, "load", lambda fleet: class_file.load(fleet, classes))
    fetch(resolve.resolve("fan"))
    report = ingest.run_stage("fan")
    made = splits.run_stage("fan", splits.SplitParams())
    assert f"fan: {len(report.assets)} machines, " in README
    assert "\n".join(report.lines()) in re.sub(r"\n    ", "\n", README)
    assert len(made.test) + len(made.train) == len(report.assets) == 18
    assert len(made.folds) == 5
    assert made.cuts
    assert json.loads(Path("artifacts/fan/quality.json").read_text(encoding="utf-8"))["notes"] == []


def test_code_in_it_is_python():
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        ast.parse(code)


def test_its_gateway_can_be_configured(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(block("toml", "[gateway]"), encoding="utf-8")
    config = read_config(path)
    assert [source.type for source in config.sources] == ["replay"]
    assert set(config.bundles) == {"pump"}
    assert config.gateway.data.parent == tmp_path, "a second reader finds no journal of the first one's"
    assert config.sources[0].settings.machines == config.gateway.machines, "the other pumps of the file are left out"


def test_the_wheel_needs_three_packages_and_holds_one():
    project = PROJECT["project"]
    assert [re.split(r"[>=<~ ]", need)[0] for need in project["dependencies"]] == ["numpy", "onnxruntime", "paho-mqtt"]
    assert project["requires-python"] == ">=3.10,<3.14"
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["edge_runtime"]


def test_ci_ends_with_the_tests():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o100
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "uv run pytest"
