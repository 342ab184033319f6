"""MLflow: each training run with its parameters, metrics, data hash, commit and plots.

The store is a SQLite file under mlflow/store (see mlflow/tracking.yaml); MLFLOW_TRACKING_URI, when set, wins.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from data import paths

CONFIG = Path("mlflow/tracking.yaml")
WRITTEN = (":!dvc.lock", ":!artifacts/*/looks.jsonl")


@cache
def library() -> Any:
    """The MLflow library, pointed at the store. Imported when first needed: it takes seconds."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    if not _shared_server():
        uri = yaml.safe_load(CONFIG.read_text())["tracking_uri"]
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
    return mlflow


@cache
def _shared_server() -> bool:
    """Whether the user named a server. Asked once, at first: MLflow sets the variable itself later."""
    return "MLFLOW_TRACKING_URI" in os.environ


def experiment(fleet: str) -> str:
    """Id of the experiment of a fleet, made when it is not there; its artifacts lie beside the store."""
    mlflow = library()
    found = mlflow.get_experiment_by_name(fleet)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if not _shared_server():
        location = (Path(yaml.safe_load(CONFIG.read_text())["artifacts"]) / fleet).absolute().as_uri()
    return str(mlflow.create_experiment(fleet, artifact_location=location))


@contextmanager
def run(fleet: str, name: str, params: dict[str, Any], data: str | None = None) -> Iterator[Any]:
    """An MLflow run of `fleet`; yields the library to log metrics and artifacts with.

    `data` is the hash of the observations, where these are not here.
    """
    mlflow = library()
    with mlflow.start_run(experiment_id=experiment(fleet), run_name=f"{fleet} {name}"):
        tags = {"fleet": fleet, "stage": name, "commit": commit(), "data_hash": data or data_hash(fleet)}
        mlflow.set_tags(tags)
        mlflow.log_params(params)
        yield mlflow


def log_scatter(mlflow: Any, name: str, label: np.ndarray, predicted: np.ndarray, unit: str) -> None:
    """Predicted against true remaining life, as a picture in the active run."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlabel=f"true remaining life ({unit})", ylabel=f"predicted ({unit})")
    axes.hexbin(label, predicted, gridsize=40, bins="log", cmap="Blues", mincnt=1)
    axes.axline((0, 0), slope=1, color="0.4", linewidth=1)
    mlflow.log_figure(figure, f"{name}.png")


def log_histogram(mlflow: Any, name: str, groups: Mapping[str, np.ndarray], label: str) -> None:
    """How the values of each group are distributed, as a picture in the active run."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel=label, ylabel="density of rows")
    for group, values in groups.items():
        axes.hist(values, bins=60, density=True, alpha=0.5, label=group)
    axes.legend(frameon=False)
    mlflow.log_figure(figure, f"{name}.png")


def data_hash(fleet: str) -> str:
    """Hex sha256 of the observations."""
    with paths.observations(fleet).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit() -> str:
    """The commit of the code, `-dirty` when tracked files differ from it; `unknown` outside a repository.

    What the pipeline itself writes as it runs does not count: dvc.lock and the logs of looks at test machines.
    """
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], check=True, capture_output=True, text=True).stdout.strip()
