"""What a gateway needs of its own computer: one onnxruntime, the time, a folder, secret secrets, a free port."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.contract.signature import read_public_key
from edge_runtime.errors import EdgeError
from edge_runtime.gateway.checks.line import Line
from edge_runtime.gateway.config import CommandSettings, GatewayConfig, HttpSettings, SourceConfig
from edge_runtime.gateway.http import read_token
from edge_runtime.gateway.synchronised import Synchronised
from edge_runtime.providers import installed_runtimes
from edge_runtime.tls import check_private

SECRETS = ("key", "password_file", "token_file")  # settings that name files which nobody else may read


def check_computer(config: GatewayConfig, clock: Clock) -> Iterator[Line]:
    """One onnxruntime, and a clock that is right."""
    runtimes = installed_runtimes()
    alone = len(runtimes) == 1
    told = runtimes[0] if alone else f"{' and '.join(runtimes)} overwrite each other's files: keep one"
    yield Line("computer", "onnxruntime", "ok" if alone else "FAIL", told)
    if Synchronised(clock)():
        yield Line("computer", "clock", "ok", "synchronised")
    else:
        yield Line("computer", "clock", "warn", "not synchronised: times may be wrong; set up chrony or timesyncd")
    connections = [("link", config.link), *((source.name, source.settings) for source in config.sources)]
    for name, settings in connections:
        if getattr(settings, "insecure", False):
            yield Line("computer", f"{name}: insecure = true", "warn", "others may read or forge what goes over it")


def check_folder(folder: Path) -> Iterator[Line]:
    """The data folder, which only the service's user may read; `run` makes it if its parent may be written."""
    there = nearest(folder)
    if not there.is_dir():
        yield Line("data", str(folder), "FAIL", f"{there} is a file: [gateway] data names a folder of its own")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield Line(
            "data", str(folder), "FAIL", f"user {os.geteuid()} cannot write {there}: chown it, or run as its owner"
        )
        return
    if there == folder and folder.stat().st_mode & 0o077:
        mode = folder.stat().st_mode & 0o777
        yield Line("data", str(folder), "FAIL", f"others may enter it (mode {mode:03o}): chmod 700 {folder}")
        return
    yield Line("data", str(folder), "ok", "can be written" if there == folder else "will be made")


def nearest(folder: Path) -> Path:
    """`folder`, or what there is of the way to it."""
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))  # noqa: PTH110 - raises nothing


def check_secrets(config: GatewayConfig) -> Iterator[Line]:
    """Files with secrets can be read by us and by nobody else."""
    for where, path in dict.fromkeys(secret_files(config)):
        try:
            check_private(path)
            with path.open("rb"):
                yield Line("secrets", where, "ok", str(path))
        except (EdgeError, OSError) as error:
            yield Line("secrets", where, "FAIL", str(error))


def secret_files(value: Any, where: str = "") -> Iterator[tuple[str, Path]]:
    """Each setting in `value`, to any depth, that names a file which only its owner may read."""
    if isinstance(value, SourceConfig):
        yield from secret_files(value.settings, f"source {value.name}")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            item = getattr(value, field.name)
            place = f"{where}.{field.name}" if where else field.name
            if field.name in SECRETS and isinstance(item, Path):
                yield place, item
            else:
                yield from secret_files(item, place)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from secret_files(item, f"{where}[{i}]")


def check_commands(commands: CommandSettings) -> Iterator[Line]:
    """Whether the centre may write, and what."""
    if not commands.enabled or commands.public_key is None:
        yield Line("commands", "enabled = false", "ok", "the centre cannot write anything")
        return
    try:
        read_public_key(commands.public_key)
    except EdgeError as error:
        yield Line("commands", "public_key", "FAIL", str(error))
    else:
        yield Line("commands", "public_key", "ok", f"{len(commands.allow)} channels may be written")
    if commands.stop_file is not None and not commands.stop_file.parent.is_dir():
        told = f"there is no folder {commands.stop_file.parent} yet: without it nobody can make the file"
        yield Line("commands", "stop_file", "warn", told)
    elif commands.stop_file is not None and commands.stop_file.exists():
        yield Line("commands", "stop_file", "warn", f"{commands.stop_file} exists: every command is refused")


def check_assignments(key: Path | None) -> Iterator[Line]:
    """Whether the centre may say how machines are set, and where their twins go on; nothing is said while it is off."""
    if key is None:
        return
    try:
        read_public_key(key)
    except EdgeError as error:
        yield Line("assignments", "public_key", "FAIL", str(error))
    else:
        yield Line("assignments", "public_key", "ok", "the centre may send settings and states of machines")


def check_http(http: HttpSettings) -> Iterator[Line]:
    """The local port is free."""
    if not http.enabled:
        yield Line("http", "enabled = false", "warn", "no metrics, no health, no status")
        return
    if importlib.util.find_spec("prometheus_client") is None:
        yield Line(
            "http", "/metrics", "warn", "there are none without prometheus-client: pip install 'overhaul[gateway]'"
        )
    try:
        if http.token_file is not None:
            read_token(http.token_file)
        family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((http.host, http.port))
        yield Line("http", f"{http.host}:{http.port}", "ok", "free")
    except EdgeError as error:
        yield Line("http", "token_file", "FAIL", str(error))
    except OSError as error:
        where = f"{http.host}:{http.port}"
        if error.errno == errno.EADDRINUSE:
            yield Line("http", where, "warn", f"{error.strerror}: does the gateway run already?")
        else:
            way_out = "[http] host is an address of this computer, port one that this user may take"
            yield Line("http", where, "FAIL", f"{error.strerror}: {way_out}")
