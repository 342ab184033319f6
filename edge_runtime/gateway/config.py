"""`gateway.toml` into frozen typed settings. All problems are told at once; nothing is opened but files of settings.

The settings of a type of source are a dataclass of its module, which is imported when a file names the type: a gateway
without OPC UA never imports it.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between, Example, ProblemsError, decode_strict, shown, suggest
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.sources.interface import is_loopback
from edge_runtime.upstream.settings import LinkSettings

# type → module, settings dataclass (with a field `name`), source class
SOURCES: Mapping[str, tuple[str, str, str]] = {
    "mqtt": ("edge_runtime.sources.mqtt.source", "MqttSettings", "MqttSource"),
    "sparkplug": ("edge_runtime.sources.sparkplug.source", "SparkplugSettings", "SparkplugSource"),
    "opcua": ("edge_runtime.sources.opcua.source", "OpcuaSettings", "OpcuaSource"),
    "modbus": ("edge_runtime.sources.modbus.source", "ModbusSettings", "ModbusSource"),
    "replay": ("edge_runtime.sources.replay.source", "ReplaySettings", "ReplaySource"),
}


def identifier(value: str) -> str | None:
    """A rule for ids."""
    return None if is_identifier(value) else "an identifier of 1 to 64 letters, digits, '_' or '-'"


@dataclass(frozen=True)
class GatewaySettings:
    """`id` is the common name of the gateway's certificate. Durations in seconds. `data` is made with mode 0700."""

    id: Annotated[str, identifier, Example('"gw-7"')]
    site: Annotated[str, identifier, Example('"north"')]
    data: Annotated[Path, Example('"/var/lib/overhaul"')]
    machines: Annotated[Path, Example('"machines.csv"')]
    threads: Annotated[int, Between(1, 64)] = 1
    provider: Literal["auto", "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"] = "auto"
    gather: Annotated[float, Between(0, 1)] = 0.003  # how long arrivals are collected before the twins advance
    max_ahead: Annotated[float, Between(0, 86400)] = 60.0  # what is dated further in the future is refused


@dataclass(frozen=True)
class AllowedCommand:
    """One channel that the centre may write, within these limits, through `source` (None: there is but one).

    What is read back may differ by `tolerance` (None: half a percent of the range).
    """

    asset: Annotated[str, identifier]
    channel: str
    low: float
    high: float
    per_minute: Annotated[float, Between(0, 600)] = 1.0
    source: str | None = None
    tolerance: Annotated[float, Between(0)] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"low = {self.low:g}, high = {self.high:g}: expected two finite numbers")
        if self.low > self.high:
            raise ValueError(f"low = {self.low:g} is above high = {self.high:g}: exchange them")

    @property
    def largest_difference(self) -> float:
        return 0.005 * (self.high - self.low) if self.tolerance is None else self.tolerance


@dataclass(frozen=True)
class CommandSettings:
    """`public_key`: file with the centre's Ed25519 key. While `stop_file` exists, every command is refused."""

    enabled: bool = False
    public_key: Path | None = None
    stop_file: Path | None = None
    allow: tuple[AllowedCommand, ...] = ()

    def __post_init__(self) -> None:
        if self.enabled and self.public_key is None:
            raise ValueError('commands need the public key of the centre: write public_key = "centre.pem"')


@dataclass(frozen=True)
class AssignmentSettings:
    """What the centre tells about single machines: term, settings, state. `public_key` None: that of the commands."""

    enabled: bool = False
    public_key: Path | None = None


@dataclass(frozen=True)
class HttpSettings:
    """Metrics, health and status. Whoever asks from elsewhere must send the text in `token_file` as bearer token."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Between(0, 65535)] = 9464  # 0: any free one
    token_file: Path | None = None
    stalled_after: Annotated[float, Between(1, 3600)] = 30.0  # unhealthy when the engine has not moved for so long

    def __post_init__(self) -> None:
        if self.enabled and not is_loopback(self.host) and self.token_file is None:
            raise ValueError(
                f"host = {self.host!r} can be reached from elsewhere: name a file with a secret, token_file = "
                '"http.token", or listen on host = "127.0.0.1"'
            )


@dataclass(frozen=True)
class LogSettings:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"
    repeats: Annotated[int, Between(1, 10_000)] = 5  # of one message a minute; the rest is counted


@dataclass(frozen=True)
class SourceConfig:
    """One `[[source]]`: its type, and the settings dataclass of that type's module."""

    type: str
    settings: Any

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def source_class(self) -> Any:
        """The class of `SOURCES`, made from `settings` by whoever wires the gateway."""
        module, _, name = SOURCES[self.type]
        return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class GatewayConfig:
    """One gateway.toml. `bundles`: class → folder."""

    path: Path
    gateway: GatewaySettings
    bundles: Mapping[str, Path]
    journal: JournalSettings
    spool: SpoolSettings
    link: LinkSettings
    commands: CommandSettings = field(default_factory=CommandSettings)
    assignments: AssignmentSettings = field(default_factory=AssignmentSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    log: LogSettings = field(default_factory=LogSettings)
    sources: tuple[SourceConfig, ...] = ()

    @property
    def assignment_key(self) -> Path | None:
        """File with the key that assignments are signed with; None: they are off."""
        return (self.assignments.public_key or self.commands.public_key) if self.assignments.enabled else None


# A section may be left out if all of its keys have defaults.
_SECTIONS: Mapping[str, Any] = {
    "gateway": GatewaySettings,
    "bundles": Mapping[str, Path],
    "journal": JournalSettings,
    "spool": SpoolSettings,
    "link": LinkSettings,
    "commands": CommandSettings,
    "assignments": AssignmentSettings,
    "http": HttpSettings,
    "log": LogSettings,
}


def read_config(path: Path | str) -> GatewayConfig:
    """Read and check `path`; `ConfigError` names the file and all that is wrong in it. Paths are relative to it."""
    path = Path(path).absolute()
    table = _read(path)
    problems: list[str] = []
    sections = {name: _section(name, table.get(name, {}), path.parent, problems) for name in _SECTIONS}
    known = [*_SECTIONS, "source"]
    problems += [f"{key} is no section: {suggest(key, known)}" for key in table if key not in known]
    sources = _sources(table.get("source", []), path.parent, problems)
    _check_together(sections, sources, problems)
    if problems:
        raise _error(path, problems)
    return GatewayConfig(path=path, sources=tuple(sources), **sections)


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise EdgeError("gateway.toml cannot be read without tomli: pip install 'overhaul[gateway]'") from error
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name an existing gateway.toml") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, numbers of 5,000 digits
        raise ConfigError(f"{path} is not TOML: {error}{_line_of(path, error)}") from error


def _line_of(path: Path, error: Exception) -> str:
    """The line that `error` speaks of, and what is mostly wrong with one."""
    place = re.search(r"at line (\d+)", str(error))
    if place is None:
        return ""
    line = path.read_text("utf-8-sig").split("\n")[int(place[1]) - 1].strip()
    return f": {shown(line)}; text and times stand in quotes, a key stands once in its section"


def _section(name: str, value: Any, folder: Path, problems: list[str]) -> Any:
    try:
        return decode_strict(_SECTIONS[name], value, name, folder)
    except ProblemsError as error:
        problems += error.problems
        return None


def _sources(value: Any, folder: Path, problems: list[str]) -> list[SourceConfig]:
    if not isinstance(value, list):
        problems.append("source: expected a list of tables, each under its own [[source]]")
        return []
    sources = [_source(table, f"source[{i}]", folder, problems) for i, table in enumerate(value)]
    return [source for source in sources if source is not None]


def _source(table: Any, where: str, folder: Path, problems: list[str]) -> SourceConfig | None:
    if not isinstance(table, dict):
        problems.append(f"{where}: expected a table under [[source]]")
        return None
    kind, name = table.get("type"), table.get("name")
    if not isinstance(kind, str) or kind not in SOURCES:
        got = "is missing" if kind is None else f"is {kind!r}"[:80]
        problems.append(f"{where}.type {got}: {suggest(str(kind), list(SOURCES))}")
        return None
    if isinstance(name, str) and name.isprintable() and len(name) <= 64:
        where = f"{where} '{name}'"
    module, settings, _ = SOURCES[kind]
    try:
        kind_of_settings = getattr(importlib.import_module(module), settings)
        given = {key: item for key, item in table.items() if key != "type"}
        return SourceConfig(kind, decode_strict(kind_of_settings, given, where, folder))
    except ProblemsError as error:
        problems += error.problems
    except EdgeError as error:  # names the extra to install
        problems.append(f"{where}: {error}")
    return None


def _check_together(sections: Mapping[str, Any], sources: list[SourceConfig], problems: list[str]) -> None:
    """What no section can say by itself."""
    bundles = sections["bundles"]
    if bundles is not None:
        problems += [f"bundles.{name!r}: expected {identifier(name)}" for name in bundles if identifier(name)]
        if not bundles:
            problems.append('bundles names no bundle: write under [bundles] a line like pump = "bundles/pump"')
    for name, count in Counter(source.name for source in sources).items():
        if count > 1:
            problems.append(f"source '{name}' is there {count} times: give each [[source]] a name of its own")
    assignments, commands = sections["assignments"], sections["commands"]
    keys = [section.public_key for section in (assignments, commands) if section is not None]
    if assignments is not None and assignments.enabled and not any(keys):
        problems.append('assignments need the public key of the centre: write public_key = "centre.pem"')
    commands, names = sections["commands"], [source.name for source in sources]
    for i, allowed in enumerate(commands.allow if commands is not None else ()):
        if allowed.source is not None and allowed.source not in names:
            problems.append(
                f"commands.allow[{i}].source: there is no source '{allowed.source}': {suggest(allowed.source, names)}"
            )


def _error(path: Path, problems: list[str]) -> ConfigError:
    if len(problems) == 1:
        return ConfigError(f"{path}: {problems[0]}")
    return ConfigError("\n  ".join([f"{path}: {len(problems)} problems", *problems]))
