"""One fleet in the MLflow model registry: its versions by alias, their bundles, and moving aliases with an audit trail.

`champion` is served, `challenger` is the newest candidate, `previous` the champion before: what a rollback returns to.
What happened to a version, when and why stands in its tags `promotion.*`. The registry may be on another server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from data.errors import DataError
from training import tracking

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


class RegistryError(DataError):
    """The registry has not what is asked for, cannot be asked, or has changed meanwhile."""


class Registry:
    """Of the fleet `fleet`, which `training.register` puts there."""

    def __init__(self, fleet: str) -> None:
        self.fleet = fleet
        self._mlflow = tracking.library()
        self._client = self._mlflow.MlflowClient()

    def aliases(self) -> dict[str, str]:
        """Alias → version."""
        where = self._mlflow.get_tracking_uri()
        try:
            found = self._client.search_registered_models(f"name = '{self.fleet}'")
        except Exception as error:  # of MLflow, its store or its network: they have no common base
            raise RegistryError(
                f"the registry at {where} cannot be asked ({error}): see MLFLOW_TRACKING_URI and mlflow/tracking.yaml"
            ) from error
        if not found:
            raise RegistryError(
                f"the registry at {where} has no model '{self.fleet}': `uv run dvc repro` "
                f"registers what it exports, `uv run python -m training.register {self.fleet}` what is here already"
            )
        return {alias: str(version) for alias, version in found[0].aliases.items()}

    def fetch(self, version: str, folder: Path) -> Path:
        """The bundle of `version`, downloaded into `folder`."""
        source = str(self._client.get_model_version(self.fleet, version).source)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return Path(self._mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(folder)))
        except Exception as error:  # as above
            raise RegistryError(
                f"version {version} of '{self.fleet}' cannot be fetched from {source} ({error}): make the artifacts "
                "of the registry reachable from here"
            ) from error

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Tags `promotion.<name>` of `version`."""
        for name, value in tags.items():
            self._client.set_model_version_tag(self.fleet, version, f"promotion.{name}", value)

    def refuse(self, version: str, why: str) -> None:
        """It stays the challenger: limits may be changed, and another version takes its place anyway."""
        self.tag(version, {"verdict": f"refused: {why}", "at": now()})

    def promote(self, challenger: str, champion: str | None) -> None:
        """The challenger becomes the champion, the champion the previous one; both as they were judged.

        In an order that leaves a champion, and a way back, wherever it is interrupted.
        """
        self._require({CHALLENGER: challenger, CHAMPION: champion})
        if champion is not None:
            self._move(PREVIOUS, champion)
            self.tag(champion, {"replaced_by": challenger, "replaced_at": now()})
        self._move(CHAMPION, challenger)
        self._client.delete_registered_model_alias(self.fleet, CHALLENGER)
        self.tag(challenger, {"verdict": "promoted", "at": now()})

    def roll_back(self, champion: str, previous: str, reason: str) -> None:
        """The previous champion is the champion again; the one that was has no alias any more."""
        self._require({CHAMPION: champion, PREVIOUS: previous})
        self._move(CHAMPION, previous)
        self._client.delete_registered_model_alias(self.fleet, PREVIOUS)
        self.tag(champion, {"verdict": "rolled back", "at": now(), "rolled_back_to": previous, "reason": reason})
        self.tag(previous, {"restored_from": champion, "restored_at": now()})

    def _move(self, alias: str, version: str) -> None:
        self._client.set_registered_model_alias(self.fleet, alias, version)

    def _require(self, expected: Mapping[str, str | None]) -> None:
        """MLflow has no compare-and-set: looking once more leaves a moment, not the minute of the judging."""
        aliases = self.aliases()
        for alias, version in expected.items():
            if aliases.get(alias) != version:
                raise RegistryError(
                    f"{alias} of '{self.fleet}' was version {version}, and is {aliases.get(alias)} by now: somebody "
                    "else moved it; nothing was changed, run this again"
                )


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
