"""`python -m serving.registry … --config centre.toml`: plants, machines, owners and settings, from a terminal.

import plant.csv [--check]       a whole plant from a table, see `serving.registry.plan`
show [north/line-2]              the tree, with the assets in it, their owners and terms
add | change | remove PATH       a plant, line, machine or component
register NAME --class pump       a machine; assign NAME --gateway gw-7 | --centre; tier NAME full | basic
settings show NAME               settings set NAME rated_flow=1800 rated_power=   (empty: the default of the class)
audit [--subject asset/pump-3]   who changed what, and why
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from edge_runtime.manifest import Contract
from serving.database.engine import Database, away
from serving.database.queries import Asset, find_asset, list_assets
from serving.database.schema import check
from serving.errors import InvalidError, RequestError, ServingError
from serving.models.catalogue import Catalogue
from serving.registry import hierarchy, owners
from serving.registry.asset_settings import Settings, read_settings, set_settings
from serving.registry.audit import Act, read_audit, told
from serving.registry.classes import check_classes, classes_at_hand
from serving.registry.plan import apply_plan, read_plan
from serving.settings import CentreConfig, read_config

_Options = argparse.Namespace


class _CheckedError(Exception):
    """Nothing is to be kept."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        config = read_config(options.config)
        database = Database(config.database)
        try:
            check(database)
            _run(options, config, database)
        finally:
            database.close()
    except (ServingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, required=True, help="centre.toml")
    common.add_argument("--by", default=_who(), help="who does this, for the audit")
    common.add_argument("--reason", default="", help="why, for the audit")
    parser = argparse.ArgumentParser(prog="python -m serving.registry", description="The registry of machines.")
    actions = parser.add_subparsers(dest="action", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=text, parents=[common])

    table = action("import", "a whole plant from a CSV table")
    table.add_argument("file", type=Path)
    table.add_argument("--check", action="store_true", help="say what would change, and change nothing")
    table.add_argument("--new-class", action="store_true", help="take a class of which there is no bundle yet")
    action("show", "the tree").add_argument("path", nargs="?", default="")
    for name, text in (("add", "a plant, line, machine or component"), ("change", "its title, criticality or asset")):
        node = action(name, text)
        node.add_argument("path")
        node.add_argument("--title")
        node.add_argument("--criticality", choices=hierarchy.CRITICALITIES)
        node.add_argument("--asset")
    action("remove", "what has nothing below it").add_argument("path")
    _asset_actions(action)
    log = action("audit", "who changed what, the newest last")
    log.add_argument("--subject", help="such as asset/pump-3 or node/north/line-2")
    log.add_argument("--limit", type=int, default=50)
    return parser


def _asset_actions(action: Callable[[str, str], argparse.ArgumentParser]) -> None:
    new = action("register", "a machine")
    new.add_argument("name")
    new.add_argument("--class", dest="asset_class", required=True)
    new.add_argument("--new-class", action="store_true", help="take a class of which there is no bundle yet")
    new.add_argument("--gateway", help="that owns its twin; left out: the centre")
    new.add_argument("--site", default="", help="of a gateway that is not known yet")
    new.add_argument("--term", type=int, default=0)
    new.add_argument("--tier", choices=("full", "basic"), default="full")
    other = action("assign", "give a twin to another owner, under the next term")
    other.add_argument("name")
    to = other.add_mutually_exclusive_group(required=True)
    to.add_argument("--gateway")
    to.add_argument("--centre", action="store_true")
    other.add_argument("--term", type=int, help="refuse unless this is the present one")
    tier = action("tier", "full: a twin; basic: monitoring only")
    tier.add_argument("name")
    tier.add_argument("tier", choices=("full", "basic"))
    settings = action("settings", "of one machine")
    settings.add_argument("what", choices=("show", "set"))
    settings.add_argument("name")
    settings.add_argument("values", nargs="*", metavar="NAME=VALUE")
    settings.add_argument("--version", type=int, help="show: as it was; set: refuse unless this is the present one")


def _run(options: _Options, config: CentreConfig, database: Database) -> None:
    if options.action in ("show", "audit") or (options.action == "settings" and options.what == "show"):
        with away(), database.read() as connection:
            lines = _READS[options.action](connection, options)
    else:
        prepared = _prepare(options, config, database)
        act = Act(options.by, time.time_ns(), options.reason)
        lines = []
        try:
            with away(), database.write() as connection:
                lines = prepared(connection, act)
                if getattr(options, "check", False):
                    raise _CheckedError
        except _CheckedError:
            lines.append("nothing was changed: without --check it is")
    for line in lines:
        print(line)


def _prepare(options: _Options, config: CentreConfig, database: Database) -> Callable[[Connection, Act], list[str]]:
    """What takes long, or needs no database, comes before the transaction."""
    if options.action == "import":
        plan = read_plan(options.file)
        with away(), database.read() as connection:
            there = {(asset.name, asset.asset_class) for asset in list_assets(connection)}
        new = [line for line in plan if (line.asset, line.asset_class) not in there]
        _check(options, config, [(f"line {line.number}: ", line.asset_class) for line in new])
        return lambda connection, act: apply_plan(connection, act, plan, options.file.name) or ["nothing to change"]
    if options.action == "settings":
        with away(), database.read() as connection:
            asset_class = find_asset(connection, options.name).asset_class
        contract = _contract(config, asset_class)
        return lambda connection, act: _set(connection, act, options, contract)
    if options.action == "register":
        _check(options, config, [("", options.asset_class)])
    return lambda connection, act: _change(connection, act, options)


def _check(options: _Options, config: CentreConfig, given: Sequence[tuple[str, str]]) -> None:
    if not options.new_class:
        for warning in check_classes(given, classes_at_hand(config.service.models)):
            print(f"warning: {warning}", file=sys.stderr)


def _change(connection: Connection, act: Act, options: _Options) -> list[str]:
    match options.action:
        case "add":
            node = hierarchy.add_node(
                connection,
                act,
                options.path,
                title=options.title or "",
                criticality=options.criticality or "B",
                asset=options.asset,
            )
            return [f"{node.path}: {node.kind}, criticality {node.criticality}"]
        case "change":
            node = hierarchy.change_node(
                connection,
                act,
                options.path,
                title=options.title,
                criticality=options.criticality,
                asset=options.asset,
            )
            return [f"{node.path}: {node.title or node.kind}, criticality {node.criticality}"]
        case "remove":
            hierarchy.remove_node(connection, act, options.path)
            return [f"{options.path}: removed"]
        case "register":
            owners.register(
                connection,
                act,
                options.name,
                options.asset_class,
                gateway=options.gateway,
                site=options.site,
                term=options.term,
                tier=options.tier,
            )
        case "assign":
            owners.assign(connection, act, options.name, options.gateway, term=options.term)
        case "tier":
            owners.set_tier(connection, act, options.name, options.tier)
    asset = find_asset(connection, options.name)
    return [f"{asset.name}: {asset.tier}, owner {_owner(asset)}, term {asset.term}"]


def _set(connection: Connection, act: Act, options: _Options, contract: Contract) -> list[str]:
    now = read_settings(connection, options.name)
    values = dict(now.values)
    for given in options.values:
        name, equals, text = given.partition("=")
        if not equals:
            raise InvalidError(f"'{given}': expected NAME=VALUE, or NAME= for the default of the class")
        if not text:
            values.pop(name, None)
            continue
        try:
            values[name] = float(text)
        except ValueError:
            raise InvalidError(f"'{given}': {text!r} is no number") from None
    version = now.version if options.version is None else options.version
    return _told(set_settings(connection, act, options.name, values, contract=contract, version=version))


def _contract(config: CentreConfig, asset_class: str) -> Contract:
    catalogue = Catalogue.of(config.service.models)
    catalogue.refresh()
    try:
        return catalogue.shelf.find(asset_class).contract
    except RequestError as error:
        for served in catalogue.shelf:
            if served.contract.asset_class == asset_class:
                return served.contract
        raise InvalidError(f"{error}; without a bundle of class '{asset_class}' settings cannot be checked") from error


def _show(connection: Connection, options: _Options) -> list[str]:
    if options.path:
        hierarchy.find_node(connection, options.path)
    known = {asset.name: asset for asset in list_assets(connection)}
    lines = []
    for node in hierarchy.read_tree(connection):
        if options.path and node.path != options.path and not node.path.startswith(f"{options.path}/"):
            continue
        text = f"{'  ' * node.path.count('/')}{node.name}  {node.kind} {node.criticality}"
        text += f"  {node.title}" if node.title else ""
        if node.asset is not None:
            asset = known.pop(node.asset)
            text += f"  [{asset.name}: {asset.asset_class}, {asset.tier}, {_owner(asset)}, {asset.term}]"
        lines.append(text)
    if not options.path:
        nowhere = known.values()
        lines += [f"{each.name}  stands nowhere  [{each.asset_class}, {each.tier}, {_owner(each)}]" for each in nowhere]
    return lines


def _show_settings(connection: Connection, options: _Options) -> list[str]:
    return _told(read_settings(connection, options.name, options.version))


def _told(found: Settings) -> list[str]:
    if not found.version:
        return ["version 0: nothing is set, all is as the class has it"]
    head = f"version {found.version} of {_time(found.at)} by {found.by}" + (f": {found.reason}" if found.reason else "")
    return [head, *(f"  {name} = {value:g}" for name, value in sorted(found.values.items()))]


def _audit(connection: Connection, options: _Options) -> list[str]:
    return [
        f"{_time(entry.at)}  {entry.who}  {entry.action}  {entry.subject}  {told(entry.detail)}".rstrip()
        for entry in reversed(read_audit(connection, options.subject, options.limit))
    ]


def _owner(asset: Asset) -> str:
    return asset.gateway or "the centre"


def _time(nanos: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanos / 1e9))


def _who() -> str:
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # a user without a name
        return "command line"


_READS: dict[str, Callable[[Connection, _Options], list[str]]] = {
    "show": _show,
    "audit": _audit,
    "settings": _show_settings,
}

if __name__ == "__main__":
    sys.exit(main())
