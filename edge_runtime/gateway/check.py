"""Try everything that a gateway.toml names, one line each: what was tried, whether it works, and the way out if not.

Nothing is started, no message is published and no value written. A gateway that runs is left alone; only what it holds
(its port, its folder) is then said to be in use.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from edge_runtime.bundle import Bundle
from edge_runtime.clock import Clock, SystemClock
from edge_runtime.contract.command import public_key
from edge_runtime.errors import EdgeError
from edge_runtime.gateway.check_link import check_link
from edge_runtime.gateway.config import CommandSettings, GatewayConfig, HttpSettings, SourceConfig, read_config
from edge_runtime.gateway.estimate import Estimate, estimate
from edge_runtime.gateway.http import read_token
from edge_runtime.gateway.machines import Machines, read_machines
from edge_runtime.gateway.mapping import Feed, channels_of, feeds, gaps, strangers
from edge_runtime.gateway.page import aligned, size
from edge_runtime.gateway.sources import make_source
from edge_runtime.gateway.synchronised import Synchronised
from edge_runtime.manifest import Contract
from edge_runtime.providers import installed_runtimes, load_best
from edge_runtime.tls import check_private

SECRETS = ("key", "password_file", "token_file")  # settings that name files which nobody else may read
_AT_ONCE = 8  # connections tried
_NAMED = 5  # machines named in one line


@dataclass(frozen=True)
class Line:
    """`warn`: the gateway runs, and somebody should know."""

    part: str
    what: str
    result: Literal["ok", "warn", "FAIL"]
    detail: str


def check(path: Path, clock: Clock | None = None) -> list[Line]:
    """All findings about the gateway.toml at `path`, in its order. Takes seconds; never raises for what is wrong."""
    clock = clock or SystemClock()
    try:
        config = read_config(path)
    except EdgeError as error:
        told = str(error).splitlines()
        return [Line("config", str(path), "FAIL", problem.strip()) for problem in told[1:] or told]
    lines = [Line("config", str(path), "ok", f"{len(config.bundles)} bundles, {len(config.sources)} sources")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        link = pool.submit(_link, config, clock)
        sources = [pool.submit(_source, source, config.gateway.id, clock) for source in config.sources]
        for part in (_computer, _folder, _secrets):
            lines += part(config, clock)
        lines += _models(config)
        for future in sources:
            lines += future.result()
        lines += link.result()
    return [*lines, *_commands(config.commands), *_http(config.http)]


def lines_text(lines: Sequence[Line]) -> str:
    """An aligned table, and a last line that sums it up."""
    rows = [(line.result, line.part, line.what, line.detail) for line in lines]
    failed, warned = (sum(line.result == result for line in lines) for result in ("FAIL", "warn"))
    told = f"{failed} failed, {warned} to look at" if failed or warned else "all well"
    return "\n".join([*aligned(rows, ""), f"{len(lines)} checked: {told}"])


def lines_json(lines: Sequence[Line]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=2, ensure_ascii=False)


def _computer(config: GatewayConfig, clock: Clock) -> Iterator[Line]:
    runtimes = installed_runtimes()
    alone = len(runtimes) == 1
    told = runtimes[0] if alone else f"{' and '.join(runtimes)} overwrite each other's files: keep one"
    yield Line("computer", "onnxruntime", "ok" if alone else "FAIL", told)
    if Synchronised(clock)():
        yield Line("computer", "clock", "ok", "synchronised")
    else:
        yield Line("computer", "clock", "warn", "not synchronised: times may be wrong; set up chrony or timesyncd")
    if config.gateway.insecure:
        yield Line("computer", "insecure", "warn", "insecure = true in [gateway]")


def _folder(config: GatewayConfig, _: Clock) -> Iterator[Line]:
    """The data folder, which only the service's user may read; `run` makes it if its parent may be written."""
    folder = config.gateway.data
    there = _nearest(folder)
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        yield Line(
            "data", str(folder), "FAIL", f"user {os.geteuid()} cannot write {there}: chown it, or run as its owner"
        )
        return
    if there == folder and folder.stat().st_mode & 0o077:
        mode = folder.stat().st_mode & 0o777
        yield Line("data", str(folder), "FAIL", f"others may enter it (mode {mode:03o}): chmod 700 {folder}")
        return
    yield Line("data", str(folder), "ok", "can be written" if there == folder else "will be made")


def _nearest(folder: Path) -> Path:
    """`folder`, or what there is of the way to it."""
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))  # noqa: PTH110 - raises nothing


def _secrets(config: GatewayConfig, _: Clock) -> Iterator[Line]:
    for where, path in dict.fromkeys(secret_files(config)):
        try:
            check_private(path)
            with path.open("rb"):
                yield Line("secrets", where, "ok", str(path))
        except (EdgeError, OSError) as error:
            yield Line("secrets", where, "FAIL", str(error))


def secret_files(value: Any, where: str = "") -> Iterator[tuple[str, Path]]:
    """Each setting in `value`, to any depth, that names a file which only its owner may read."""
    if is_dataclass(value) and not isinstance(value, type):
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


def _models(config: GatewayConfig) -> Iterator[Line]:
    """Bundles, then what needs them: machines, their channels, and the room that they take."""
    bundles: dict[str, Bundle] = {}
    for name, folder in config.bundles.items():
        try:
            bundle, passed_over = load_best(folder, config.gateway.threads, config.gateway.provider)
        except EdgeError as error:
            yield Line("bundle", name, "FAIL", str(error))
            continue
        if bundle.contract.asset_class != name:
            way_out = f"write {bundle.contract.asset_class} = … under [bundles]"
            yield Line("bundle", name, "FAIL", f"{folder} is of class '{bundle.contract.asset_class}': {way_out}")
            continue
        bundles[name] = bundle
        told = "".join(f"; passed over {why}" for why in passed_over)
        simulated = ", SIMULATED" if bundle.contract.simulated else ""
        yield Line("bundle", name, "ok", f"model {bundle.model_id[:12]}{simulated} on {bundle.step.provider}{told}")
    if len(bundles) < len(config.bundles):
        yield Line("machines", str(config.gateway.machines), "warn", "not checked: a bundle is missing")
        return
    contracts = {name: bundle.contract for name, bundle in bundles.items()}
    try:
        machines = read_machines(config.gateway.machines, contracts)
    except EdgeError as error:
        yield Line("machines", str(config.gateway.machines), "FAIL", str(error))
        return
    for name, listed in machines.items():
        result: Literal["ok", "warn"] = "ok" if listed.assets else "warn"
        yield Line("machines", name, result, f"{len(listed.assets):,} machines")
    yield from _mapping(config, bundles, machines)
    yield from _room(
        config, {name: estimate(b, len(machines[name].assets), config.link) for name, b in bundles.items()}
    )


def _mapping(config: GatewayConfig, bundles: dict[str, Bundle], machines: dict[str, Machines]) -> Iterator[Line]:
    contracts = {name: bundle.contract for name, bundle in bundles.items()}
    told = feeds(config.sources)
    for problem in strangers(contracts, machines, told):
        yield Line("mapping", "reads what is not there", "FAIL", problem)
    missing = gaps(contracts, machines, told)
    for gap in missing:
        of = ", ".join(gap.assets[:_NAMED])
        more = f" and {len(gap.assets) - _NAMED:,} more" if len(gap.assets) > _NAMED else ""
        yield Line("mapping", f"{gap.asset_class}.{gap.channel}", "warn", f"no source feeds it, of {of}{more}: missing")
    for name, contract in contracts.items():
        if not any(gap.asset_class == name for gap in missing):
            count = len(channels_of(contract))
            yield Line("mapping", name, "ok", f"{count} channels, {_named_by(contract, machines[name], told)} by name")


def _named_by(contract: Contract, machines: Machines, told: Sequence[Feed]) -> int:
    """How many channels sources were told to read, of all these machines; the others are those that messages name."""
    named = [feed for feed in told if feed.channel is not None]
    return len(channels_of(contract)) - len(
        {gap.channel for gap in gaps({contract.asset_class: contract}, {contract.asset_class: machines}, named)}
    )


def _room(config: GatewayConfig, estimates: dict[str, Estimate]) -> Iterator[Line]:
    """Whether the spool holds what comes in `min_days`, and the disk what spool and journal may take."""
    spool, days = config.spool, config.spool.min_days
    for name, made in estimates.items():
        if made.observations is None:
            yield Line("spool", name, "ok", "counts cycles: how fast it fills the spool is not known")
    needed = days * sum(made.total for made in estimates.values())
    told = f"{days:g} days without the centre take at most about {size(needed)}"
    if needed > spool.max_bytes:
        way_out = "raise [spool] max_bytes, or send less with [link] raw"
        yield Line("spool", size(spool.max_bytes), "warn", f"{told}: the oldest would be dropped; {way_out}")
    else:
        yield Line("spool", size(spool.max_bytes), "ok", told)
    free, wanted = shutil.disk_usage(_nearest(config.gateway.data)).free, spool.max_bytes + config.journal.history_bytes
    room = f"{size(free)} free, spool and history may take {size(wanted)}"
    if free < min(needed, spool.max_bytes):
        yield Line("spool", "disk", "FAIL", f"{room}: it would be full before {days:g} days are over; make room")
    else:
        yield Line("spool", "disk", "ok" if free >= wanted else "warn", room)


def _source(source: SourceConfig, gateway: str, clock: Clock) -> list[Line]:
    part = f"source {source.name}"
    return _tried(part, lambda: list(make_source(source, gateway, clock).check()))


def _link(config: GatewayConfig, clock: Clock) -> list[Line]:
    gateway = config.gateway
    return _tried("link", lambda: check_link(config.link, gateway.site, gateway.id, clock))


def _tried(part: str, check: Callable[[], Sequence[Any]]) -> list[Line]:
    try:
        return [Line(part, found.what, "ok" if found.ok else "FAIL", found.detail) for found in check()]
    except (EdgeError, OSError) as error:
        return [Line(part, "settings", "FAIL", str(error))]


def _commands(commands: CommandSettings) -> Iterator[Line]:
    if not commands.enabled or commands.public_key is None:
        yield Line("commands", "enabled = false", "ok", "the centre cannot write anything")
        return
    try:
        public_key(commands.public_key.read_text())
    except (EdgeError, OSError, UnicodeDecodeError) as error:
        yield Line("commands", "public_key", "FAIL", f"{commands.public_key}: {error}")
    else:
        yield Line("commands", "public_key", "ok", f"{len(commands.allow)} channels may be written")
    if commands.stop_file is not None and commands.stop_file.exists():
        yield Line("commands", "stop_file", "warn", f"{commands.stop_file} exists: every command is refused")


def _http(http: HttpSettings) -> Iterator[Line]:
    if not http.enabled:
        yield Line("http", "enabled = false", "warn", "no metrics, no health, no status")
        return
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
        yield Line("http", f"{http.host}:{http.port}", "warn", f"{error.strerror}: does the gateway run already?")
