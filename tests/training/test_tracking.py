"""Tracking: which data, which commit, which store. Runs and the registry are tested with the pipeline."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from training import tracking


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*args):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *args], check=True, capture_output=True)

    return git


@pytest.mark.usefixtures("repository")
def test_outside_a_repository_the_commit_is_unknown():
    assert tracking.commit() == "unknown"


def test_a_commit_is_dirty_when_tracked_files_differ(repository):
    Path("code.py").write_text("1\n")
    repository("init", "-q")
    repository("add", "code.py")
    repository("commit", "-qm", "first")
    clean = tracking.commit()
    assert len(clean) == 40
    Path("artifact").write_text("made by a stage\n")  # not tracked
    assert tracking.commit() == clean
    log = Path("artifacts/pump/looks.jsonl")  # tracked, but written by a stage itself
    log.parent.mkdir(parents=True)
    log.write_text("{}\n")
    repository("add", str(log))
    assert tracking.commit() == clean
    Path("code.py").write_text("2\n")
    assert tracking.commit() == f"{clean}-dirty"


def test_the_data_hash_is_of_the_observations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("data/observations/pump.parquet")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"observations")
    assert tracking.data_hash("pump") == hashlib.sha256(b"observations").hexdigest()


def test_the_tracking_folder_holds_no_python():
    """It must not shadow the library that the stages import."""
    import mlflow

    assert Path(mlflow.__file__).parent.name == "mlflow"
    assert "site-packages" in mlflow.__file__
    assert not list(Path(__file__).parents[2].glob("mlflow/**/*.py"))
