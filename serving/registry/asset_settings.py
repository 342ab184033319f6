"""Settings of single machines, in versions: each change is a new one, with who made it and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from edge_runtime.decode import shown, suggest
from edge_runtime.manifest import Contract
from serving.database.queries import find_asset
from serving.database.tables import asset_settings
from serving.errors import ConflictError, InvalidError, UnknownError
from serving.registry.assignments import want
from serving.registry.audit import Act, record


@dataclass(frozen=True)
class Settings:
    """`values`: name → number; what is not named is the default of the class. Version 0: nothing was ever set."""

    version: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    at: int = 0
    by: str = ""
    reason: str = ""


def set_settings(
    connection: Connection,
    act: Act,
    name: str,
    values: Mapping[str, float],
    *,
    contract: Contract | None = None,
    version: int | None = None,
) -> Settings:
    """Replace the settings of machine `name`; those of `contract`, its class, are checked for name and range.

    `version`: the one the caller has seen; `ConflictError` if there is a newer one. The same again is no change.
    """
    asset = find_asset(connection, name)
    checked = _check(values, contract)
    now = read_settings(connection, name)
    if version is not None and version != now.version:
        raise ConflictError(
            f"the settings of '{name}' have version {now.version} by now, not {version}: look at them again"
        )
    if checked == now.values and now.version:
        return now
    row = {"version": now.version + 1, "values": checked, "at": act.at, "by": act.by, "reason": act.reason}
    try:
        with connection.begin_nested():
            connection.execute(insert(asset_settings).values(asset=asset.id, **row))
    except IntegrityError as error:
        raise ConflictError(f"somebody else has just set '{name}': look at its settings again") from error
    record(
        connection,
        act,
        "asset.settings",
        f"asset/{name}",
        version=row["version"],
        before=dict(now.values),
        after=checked,
    )
    want(connection, act.at, asset.id, new_owner=False)
    return read_settings(connection, name)


def read_settings(connection: Connection, name: str, version: int | None = None) -> Settings:
    """Those of a machine, now or as they were in `version`; `UnknownError` if there is no such machine or version."""
    asset = find_asset(connection, name)
    table = asset_settings.c
    query = select(table.version, table["values"], table.at, table.by, table.reason).where(table.asset == asset.id)
    if version is not None:
        query = query.where(table.version == version)
    row = connection.execute(query.order_by(table.version.desc()).limit(1)).first()
    if row is not None:
        return Settings(*row)
    if version:
        raise UnknownError(f"the settings of '{name}' have no version {version}: look at the newest one", "version")
    return Settings()


def _check(values: Mapping[str, float], contract: Contract | None) -> dict[str, float]:
    checked = {}
    known = {} if contract is None else {setting.name: setting for setting in contract.settings}
    for name, value in values.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise InvalidError(
                f"setting '{name}' is {shown(value)}: expected a finite number; leave it out for the default"
            )
        checked[name] = float(value)
        if contract is None:
            continue
        if name not in known:
            raise InvalidError(
                f"'{name}' is no setting of class '{contract.asset_class}': {suggest(name, list(known))}"
            )
        low, high = known[name].range
        if not low <= value <= high:
            raise InvalidError(f"setting '{name}' is {value:g}: expected {low:g} … {high:g} {known[name].unit}")
    return checked
