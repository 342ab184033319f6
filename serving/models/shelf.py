"""What is served at one moment, immutable: a request that holds it is not touched by what comes after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edge_runtime.decode import suggest
from serving.errors import RequestError
from serving.models.served import Served


@dataclass(frozen=True)
class Shelf:
    """`versions`: fleet → version → bundle; `defaults`: fleet → the version for who names none."""

    versions: Mapping[str, Mapping[str, Served]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Served]:
        return (served for versions in self.versions.values() for served in versions.values())

    def find(self, name: str, version: str | None = None) -> Served:
        """By fleet, or by class if there is one fleet of it; `version` a number, an alias or a model_id."""
        fleet = self._fleet(name)
        versions = self.versions[fleet]
        if version is None:
            return versions[self.defaults[fleet]]
        for served in versions.values():
            if version in (served.version, served.model_id) or version in served.aliases:
                return served
        known = [known for served in versions.values() for known in (served.version, *served.aliases)]
        raise RequestError(
            "unknown_version",
            f"fleet '{fleet}' has no version '{version[:80]}' here: {suggest(version, known)}",
            "version",
        )

    def by_model(self, model_id: str) -> Served | None:
        return next((served for served in self if served.model_id == model_id), None)

    def _fleet(self, name: str) -> str:
        if name in self.versions:
            return name
        fleets = [fleet for fleet, default in self.defaults.items() if self._class(fleet, default) == name]
        if len(fleets) == 1:
            return fleets[0]
        if fleets:
            raise RequestError(
                "unknown_fleet", f"class '{name}' has several fleets: name one of {', '.join(sorted(fleets))}", "fleet"
            )
        known = suggest(name[:80], sorted(self.versions))
        raise RequestError("unknown_fleet", f"no fleet or class '{name[:80]}' is served here: {known}", "fleet")

    def _class(self, fleet: str, version: str) -> str:
        return self.versions[fleet][version].contract.asset_class
