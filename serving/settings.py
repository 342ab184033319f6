"""`centre.toml` into frozen typed settings. All problems are told at once; nothing is opened.

[database]   url = "sqlite:///centre.db"            see `serving.database.settings`
[retention]  every = 60                             and [[retention.rule]]
[broker]     url = "mqtts://broker.example:8883"    see `serving.hub.settings`
[hub]        name = "hub"
[registry]   adopt = false
[service]    insecure = false                       see `serving.api.settings`
[commands]   enabled = false                        see `serving.commands.settings`
[assignments] enabled = false                       see `serving.assignments.settings`
[log]        level = "info"                         as in gateway.toml
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime.decode import ProblemsError, decode_strict, suggest
from edge_runtime.gateway.config import LogSettings
from serving.api.settings import ServiceSettings
from serving.assignments.settings import AssignmentSettings
from serving.commands.settings import CommandSettings
from serving.database.settings import DatabaseSettings, RetentionSettings
from serving.errors import ConfigError
from serving.hub.settings import BrokerSettings, HubSettings
from serving.registry.settings import RegistrySettings


@dataclass(frozen=True)
class CentreConfig:
    """One centre.toml. `broker` None: there is no such section, and no hub can run."""

    path: Path
    database: DatabaseSettings
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    broker: BrokerSettings | None = None
    hub: HubSettings = field(default_factory=HubSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    service: ServiceSettings = field(default_factory=ServiceSettings)
    commands: CommandSettings = field(default_factory=CommandSettings)
    assignments: AssignmentSettings = field(default_factory=AssignmentSettings)
    log: LogSettings = field(default_factory=LogSettings)


# Section → its dataclass; a section may be left out if all of its keys have defaults.
_SECTIONS: Mapping[str, Any] = {
    "database": DatabaseSettings,
    "retention": RetentionSettings,
    "broker": BrokerSettings,
    "hub": HubSettings,
    "registry": RegistrySettings,
    "service": ServiceSettings,
    "commands": CommandSettings,
    "assignments": AssignmentSettings,
    "log": LogSettings,
}
_OPTIONAL = ("broker",)


def read_config(path: Path | str) -> CentreConfig:
    """Read and check `path`; `ConfigError` names the file and all that is wrong in it. Paths are relative to it."""
    path = Path(path).absolute()
    table = _read(path)
    problems = [f"{key} is no section: {suggest(key, list(_SECTIONS))}" for key in table if key not in _SECTIONS]
    sections: dict[str, Any] = {}
    for name, kind in _SECTIONS.items():
        if name in _OPTIONAL and name not in table:
            continue
        try:
            sections[name] = decode_strict(kind, table.get(name, {}), name, path.parent)
        except ProblemsError as error:
            problems += error.problems
    if problems:
        several = f"{path}: {len(problems)} problems"
        raise ConfigError(f"{path}: {problems[0]}" if len(problems) == 1 else "\n  ".join([several, *problems]))
    sections["database"] = dataclasses.replace(sections["database"], folder=path.parent)
    service = sections["service"]
    sections["service"] = dataclasses.replace(service, models=dataclasses.replace(service.models, base=path.parent))
    return CentreConfig(path=path, **sections)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name an existing centre.toml") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
