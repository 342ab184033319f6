"""What handlers that ask the database share: threads, who may see which machine, times of a class as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Connection, select, true

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import decode, shown
from edge_runtime.manifest import Contract
from edge_runtime.timestamps import NANOS, format_times, from_numbers, parse_times
from serving.api.callers import Caller, unknown_asset
from serving.api.centre import Centre
from serving.database.engine import away
from serving.database.queries import Asset, list_assets
from serving.database.tables import assets, contracts, models
from serving.errors import RequestError
from serving.models.served import Served
from serving.predict.hints import time_hint
from serving.registry.places import visible

T = TypeVar("T")
_THREADS = 4
_WAITING = 200  # requests that may wait for one of them


class Desk:
    """Of one worker."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="desk")
        self._asked = 0

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction that only reads, in a thread."""
        return await self._run(work, write=False)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(work, write=True)

    async def _run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        database = self.centre.database
        if database is None:
            raise RequestError(
                "not_ready",
                "there is no database here, so no machines: name a centre.toml",
                after=60,
            )
        if self._asked >= _WAITING:
            raise RequestError("busy", f"{self._asked} requests wait already: try again in a second", after=1)

        def job() -> T:
            with away(), database.write() if write else database.read() as connection:
                return work(connection)

        self._asked += 1
        try:
            async with asyncio.timeout(self.centre.settings.limits.answer):
                return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except TimeoutError:
            raise RequestError("late", "it took too long: ask for less at once") from None
        finally:
            self._asked -= 1

    def asset(self, connection: Connection, caller: Caller, name: str) -> Asset:
        """`RequestError`, the same for a machine that is elsewhere as for one that is nowhere."""
        found = list_assets(connection, assets.c.name == name, scope(caller)) if is_identifier(name) else []
        if not found:
            raise unknown_asset(name[:64], caller)
        return found[0]

    def served(self, asset_class: str, model_id: str | None = None) -> Served | None:
        """The bundle of a class as it is served here: `model_id`, or the one it has by default."""
        shelf = self.centre.catalogue.shelf
        found = None if model_id is None else shelf.by_model(model_id)
        if found is None:
            try:
                found = shelf.find(asset_class)
            except RequestError:  # none, or several fleets of the class
                found = next((each for each in shelf if each.contract.asset_class == asset_class), None)
        return found

    def contract(self, connection: Connection, asset_class: str, model_id: str | None = None) -> Contract | None:
        """Of a bundle that is served, or that stored twins were continued by."""
        served = self.served(asset_class, model_id)
        if served is not None:
            return served.contract
        query = select(contracts.c.body).join(models, models.c.id == contracts.c.model)
        body = connection.execute(query.where(models.c.model_id == model_id)).scalar()
        return None if body is None else decode(Contract, body, "contract")

    def unit(self, connection: Connection, asset: Asset) -> str | None:
        """Of the class's time; None: no bundle of the class is known here."""
        contract = self.contract(connection, asset.asset_class)
        return None if contract is None else contract.time.unit


def scope(caller: Caller) -> ColumnElement[bool]:
    """Rows of `assets` that the caller may see."""
    return true() if caller.everywhere else visible(caller.plants)


def told(nanos: int, unit: str | None) -> str:
    """A time of a class; of one that is not known, as the number it is."""
    return format_times(np.array([nanos], np.int64), unit or "number")[0]


def utc(nanos: int) -> str:
    return format_times(np.array([nanos], np.int64), "s")[0]


def moment(text: str, unit: str | None, where: str) -> int:
    """Nanos of a time in a query: ISO 8601, or a number in the unit of the class."""
    number = 0.0
    try:
        number = float(text)
        found, usable = from_numbers(np.array([number]))
    except ValueError:
        found, usable = parse_times([text], "s") if unit in ("s", None) else (np.zeros(1, np.int64), np.zeros(1, bool))
    if not usable[0]:
        text_form = 'ISO 8601 such as 2026-01-03T10:00:00Z (a "+" in it is %2B), or UTC seconds'
        expected = "a number of cycles" if unit == "cycle" else text_form
        hint = "" if unit == "cycle" else time_hint(number)
        raise RequestError("time", f"{shown(text)} is no time: expected {expected}{hint}", where)
    return int(found[0])


def step_of(seconds: float) -> int:
    """Nanos."""
    return max(1, round(seconds * NANOS))
