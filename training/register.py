"""Registering a bundle in the MLflow model registry, once per `model_id` and what was measured of it.

python -m training.register <fleet>      for a bundle that came from DVC's cache rather than from this machine's
training

The bundle is the artifact; nothing of MLflow is needed to run it. Each version, the first too, is `challenger` until
`training.promote` has judged it: what is served by alias has passed the rules, without exception.
"""

from __future__ import annotations

import argparse
from hashlib import sha256
from pathlib import Path

from data import command, paths
from edge_runtime.bundle import Bundle
from edge_runtime.manifest import Manifest, canonical_json
from training import tracking
from training.registry import CHALLENGER


def measured(manifest: Manifest) -> str:
    """Hex sha256 of a bundle's figures: the same model is judged anew when more is known of it."""
    return sha256(canonical_json(manifest.quality)).hexdigest()


def register(fleet: str, folder: Path) -> str:
    """Version of the bundle in `folder` in the registry, made when it is not there yet.

    Called inside an active run it logs the bundle there; otherwise it starts a run of its own.
    """
    mlflow = tracking.library()
    bundle = Bundle.load(folder)
    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{fleet}'"):
        client.create_registered_model(fleet, description=bundle.contract.title)
    same = {"model_id": bundle.model_id, "measured": measured(bundle.manifest)}
    for version in client.search_model_versions(f"name = '{fleet}'"):
        if all(version.tags.get(name) == value for name, value in same.items()):
            return str(version.version)
    if mlflow.active_run() is None:
        with tracking.run(fleet, "bundle from cache", {}, bundle.manifest.provenance.data_hash or "unknown"):
            return register(fleet, folder)
    run = mlflow.active_run()
    mlflow.log_artifacts(str(folder), "bundle")
    tags = {**same, "data_hash": bundle.manifest.provenance.data_hash or ""}
    source = f"{run.info.artifact_uri}/bundle"
    version = client.create_model_version(fleet, source, run.info.run_id, tags=tags)
    client.set_registered_model_alias(fleet, CHALLENGER, version.version)
    return str(version.version)


def main(args: argparse.Namespace) -> None:
    version = register(args.fleet, paths.artifact(args.fleet, "bundle"))
    print(f"{args.fleet}: version {version} in the registry")


if __name__ == "__main__":
    command.run(__doc__, main)
