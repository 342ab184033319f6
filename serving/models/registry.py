"""Bundles in the MLflow model registry, by alias: promoting a version there is what puts it on the shelf here."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.bundle import MANIFEST
from edge_runtime.contract.names import is_identifier
from serving.errors import ServingError
from serving.models.settings import RegistrySettings
from serving.models.source import Offer


class Registry:
    """Asks the registry at `settings.uri`. MLflow is imported at the first look: that takes seconds."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._client: Any = None

    def look(self) -> Sequence[Offer]:
        try:
            return self._look()
        except Exception as error:  # of MLflow, its store or its network: they have no common base
            told = f"the MLflow registry {self._settings.uri} cannot be asked: {error}"
            raise ServingError(_without_password(told)) from error

    def _look(self) -> list[Offer]:
        if self._client is None:
            self._client = _mlflow().MlflowClient(self._settings.uri, self._settings.uri)
        offers = []
        for model in self._models():
            if not is_identifier(model.name) or (self._settings.fleets and model.name not in self._settings.fleets):
                continue
            aliases = [alias for alias in self._settings.aliases if alias in model.aliases]
            for version in dict.fromkeys(str(model.aliases[alias]) for alias in aliases):
                named = tuple(alias for alias in aliases if str(model.aliases[alias]) == version)
                offers.append(self._offer(model.name, version, named, default=aliases[0] in named))
        return offers

    def _models(self) -> Iterator[Any]:
        """The registry tells them by the page."""
        token = None
        while True:
            page = self._client.search_registered_models(page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _offer(self, name: str, number: str, aliases: tuple[str, ...], *, default: bool) -> Offer:
        version = self._client.get_model_version(name, number)
        model_id = version.tags.get("model_id", "")
        mark = f"{model_id}/{version.run_id}/{aliases}/{default}"

        def fetch() -> Path:
            return self._fetch(name, number, str(version.source), model_id)

        return Offer(name, number, mark, fetch, aliases, default, version.run_id)

    def _fetch(self, name: str, number: str, source: str, model_id: str) -> Path:
        """What is in the cache is used, if it is that model: in a registry that was made anew numbers begin anew.

        Made beside it and renamed, so never half there.
        """
        folder = self._settings.cache / name / number
        if _is_of(folder, model_id):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder.parent) as made:
                got = _mlflow().artifacts.download_artifacts(
                    artifact_uri=source, dst_path=made, tracking_uri=self._settings.uri
                )
                shutil.rmtree(folder, ignore_errors=True)
                Path(got).rename(folder)
        except Exception as error:  # as above
            told = f"version {number} of '{name}' cannot be fetched from {source}: {error}"
            raise ServingError(_without_password(told)) from error
        return folder


def _is_of(folder: Path, model_id: str) -> bool:
    """Whether a bundle is there, and of that model, "": of any."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        return not model_id or manifest["model_id"] == model_id
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _without_password(text: str) -> str:
    """Problems are told in the log and to who may read.

    >>> _without_password("postgresql://mlflow:secret@db/mlflow is away")
    'postgresql://…@db/mlflow is away'
    """
    return re.sub(r"://\S*@", "://…@", text)


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    return mlflow
