"""Registering a bundle in the MLflow model registry, once per `model_id`.

python -m training.register <fleet>      for a bundle that came from DVC's cache rather than from this machine's
training

The bundle is the artifact; nothing of MLflow is needed to run it. Each version, the first too, is `challenger` until
`training.promote` has judged it: what is served by alias has passed the rules, without exception.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data import command, paths
from edge_runtime.bundle import Bundle
from training import tracking
from training.registry import CHALLENGER


def register(fleet: str, folder: Path) -> str:
    """Version of the bundle in `folder` in the registry, made when its `model_id` is not there yet.

    Called inside an active run it logs the bundle there; otherwise it starts a run of its own.
    """
    mlflow = tracking.library()
    bundle = Bundle.load(folder)
    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{fleet}'"):
        client.create_registered_model(fleet, description=bundle.contract.title)
    versions = client.search_model_versions(f"name = '{fleet}'")
    for version in versions:
        if version.tags.get("model_id") == bundle.model_id:
            return str(version.version)
    if mlflow.active_run() is None:
        with tracking.run(fleet, "bundle from cache", {}, bundle.manifest.provenance.data_hash or "unknown"):
            return register(fleet, folder)
    run = mlflow.active_run()
    mlflow.log_artifacts(str(folder), "bundle")
    tags = {"model_id": bundle.model_id, "data_hash": bundle.manifest.provenance.data_hash or ""}
    source = f"{run.info.artifact_uri}/bundle"
    version = client.create_model_version(fleet, source, run.info.run_id, tags=tags)
    client.set_registered_model_alias(fleet, CHALLENGER, version.version)
    return str(version.version)


def main(args: argparse.Namespace) -> None:
    version = register(args.fleet, paths.artifact(args.fleet, "bundle"))
    print(f"{args.fleet}: version {version} in the registry")


if __name__ == "__main__":
    command.run(__doc__, main)
