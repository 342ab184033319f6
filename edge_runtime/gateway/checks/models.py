"""Bundles, and what needs them: the machines, where their channels come from, and the room that they take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Literal

from edge_runtime.bundle import Bundle
from edge_runtime.errors import EdgeError
from edge_runtime.gateway.checks.here import nearest
from edge_runtime.gateway.checks.line import Line
from edge_runtime.gateway.checks.ranges import Ranges, ranges_of
from edge_runtime.gateway.config import GatewayConfig
from edge_runtime.gateway.counting import miscounted
from edge_runtime.gateway.estimate import Estimate, estimate
from edge_runtime.gateway.machines import Machines, read_machines
from edge_runtime.gateway.mapping import Feed, channels_of, feeds, gaps, strangers, unused
from edge_runtime.gateway.page import size
from edge_runtime.gateway.writable import unwritable
from edge_runtime.manifest import Contract
from edge_runtime.providers import load_best

NAMED = 5  # machines named in one line


def check_models(config: GatewayConfig, ranges: Ranges) -> Iterator[Line]:
    """Bundles, then what needs them: machines, their channels, and the room that they take. Fills `ranges`."""
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
        path, problems = str(config.gateway.machines), str(error).splitlines()
        for problem in problems[1:] or problems:
            yield Line("machines", path, "FAIL", problem.removeprefix(path).lstrip(" ,:"))
        return
    ranges |= ranges_of(contracts, machines)
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
    files = [source for source in config.sources if source.type == "replay"]
    for problem in strangers(contracts, machines, feeds([one for one in config.sources if one not in files])):
        yield Line("mapping", "reads what is not there", "FAIL", problem)
    for problem in dict.fromkeys(miscounted(contracts, machines, config.sources)):
        yield Line("mapping", "times", "warn", problem)
    for source in files:
        for problem in unused(source.settings, contracts, machines):
            yield Line("mapping", f"{source.name}: {source.settings.path.name}", "warn", problem)
    class_of = {asset: name for name, listed in machines.items() for asset in listed.assets}
    for problem in unwritable(config.commands.allow, config.sources, contracts, class_of, config.gateway.machines):
        yield Line("commands", "allow", "FAIL", problem)
    if not config.sources:
        yield Line("mapping", "no source", "warn", "nothing is read: write a [[source]], see docs/gateway.md")
        return
    missing = gaps(contracts, machines, told)
    for gap in missing:
        of = ", ".join(gap.assets[:NAMED])
        more = f" and {len(gap.assets) - NAMED:,} more" if len(gap.assets) > NAMED else ""
        yield Line("mapping", f"{gap.asset_class}.{gap.channel}", "warn", f"no source feeds it, of {of}{more}: missing")
    for name, contract in contracts.items():
        if not any(gap.asset_class == name for gap in missing):
            count, named = len(channels_of(contract)), _named(contract, machines[name], told)
            unknown = "" if named else ": nothing is known before messages come; see in `status` whether they fit"
            yield Line("mapping", name, "ok" if named else "warn", f"{count} channels, {named} by name{unknown}")


def _named(contract: Contract, machines: Machines, told: Sequence[Feed]) -> int:
    """How many channels sources were told to read, of a machine or of all; the others are those that messages name."""
    named = {feed.channel for feed in told if feed.asset is None or feed.asset in machines.assets}
    return len(named.intersection(channels_of(contract)))


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
    free, wanted = shutil.disk_usage(nearest(config.gateway.data)).free, spool.max_bytes + config.journal.history_bytes
    room = f"{size(free)} free, spool and history may take {size(wanted)}"
    if free < min(needed, spool.max_bytes):
        yield Line("spool", "disk", "FAIL", f"{room}: it would be full before {days:g} days are over; make room")
    else:
        yield Line("spool", "disk", "ok" if free >= wanted else "warn", room)
