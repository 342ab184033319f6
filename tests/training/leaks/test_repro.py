"""A copy of the pipeline passes `dvc repro` up to the canaries; with a leak written into its code it fails there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.training.leaks import presses

pytestmark = pytest.mark.timeout(1200)  # some twenty processes, of which each imports for seconds

ROOT = Path(__file__).parents[3]
CODE = ("data", "edge_runtime", "features", "training", "twins")
# dvc wants the sections that stages name as their parameters, be they empty
SECTIONS = {name: {"seed": 7} for name in ("features", "isolation_forest", "lstm")} | {"prognosis": {"interval": 0.9}}
LEAKS = {
    "constants of a fold fitted on all machines": (
        "training/feature_table.py",
        "[asset for asset in splits.train if asset not in set(held_out)]",
        "splits.train",
        r"constants must be fitted without the machines they are judged on, but in features/fold\d .* changes by .* "
        r"when the machines of fold \d were never recorded",
    ),
    "the next row's features": (
        "training/feature_table.py",
        'np.save(folder / "table.npy", table.columns["features"])',
        'np.save(folder / "table.npy", np.roll(table.columns["features"], -1, axis=0))',
        r"a feature must be the same when what comes later is withheld, but in features/final '.*' of P-\d+ at",
    ),
    "a model that learns from the machines of its fold": (
        "training/predictions.py",
        "(fold != k) & (fold != TEST)",
        "fold != TEST",
        r"a model must not learn from machines it is asked about, nor from test machines, but that of fold0 is given",
    ),
}


def repro(folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # the stages' `python`
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(folder / ".dvc" / "global"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "dvc", "repro", f"canaries@{presses.FLEET}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """The pipeline as it is, gone through up to the canaries."""
    folder = tmp_path_factory.mktemp("copy")
    without = shutil.ignore_patterns("__pycache__", "raw", "observations", "cache")
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=without)
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / ".dvcignore", folder)
    presses.write_class(folder / "data" / "asset_classes")
    presses.write_sources(folder / "data" / "sources", machines=16)
    (folder / "params.yaml").write_text(yaml.safe_dump(SECTIONS | presses.PARAMS))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    done = repro(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_pipeline_passes(passed):
    made = json.loads((passed / "artifacts" / presses.FLEET / "canaries.json").read_text())
    assert {of["caught"] for of in made.values()} == {True}
    assert "didn't change, skipping" in repro(passed).stdout


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leaky_pipeline_fails(passed, tmp_path, leak):
    file, honest, leaky, message = LEAKS[leak]
    folder = tmp_path / "leaky"
    shutil.copytree(passed, folder, symlinks=True)
    code = (folder / file).read_text()
    assert code.count(honest) == 1
    (folder / file).write_text(code.replace(honest, leaky))
    done = repro(folder)
    assert done.returncode != 0
    assert f"failed to reproduce 'canaries@{presses.FLEET}'" in done.stderr
    assert re.search(f"error: {presses.FLEET}: {message}", done.stdout + done.stderr), done.stderr
    assert not (folder / "artifacts" / presses.FLEET / "canaries.json").exists()
