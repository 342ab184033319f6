"""Routes of commands: set-points that people ask for, their approval, and how they fare."""

from __future__ import annotations

import re

from sqlalchemy import Connection, select

from edge_runtime.decode import suggest
from edge_runtime.manifest import Channel
from serving.api.call import Call, Reply, Route
from serving.api.desk import Desk
from serving.api.once import HEADER, Once
from serving.api.query import read_query
from serving.commands import record
from serving.commands.forms import CancelRequest, CommandAnswer, CommandRequest, CommandsAnswer, CommandsQuery
from serving.commands.read import list_commands, read_command
from serving.commands.settings import CommandSettings
from serving.database.queries import Asset
from serving.database.tables import assets, gateways
from serving.errors import RequestError
from serving.predict.hints import unit_hint
from serving.registry.audit import Act

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ASK = ("unknown_asset", "busy", "away", "late", "not_ready")
_CHANGE = (*_ASK, "conflict")
_BODY = ("malformed", "slow", "size", "encoding", "form")
_PATH = "/assets/{asset}/commands"


class CommandRoutes:
    """Of one worker. It signs nothing: that is for the hub."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._clock = desk, desk.centre.clock

    @property
    def _settings(self) -> CommandSettings:
        return self._desk.centre.commands

    def routes(self) -> list[Route]:
        command, own = ("command",), ("read", "command")
        return [
            Route(
                "POST",
                _PATH,
                self.make_command,
                "Ask for a set-point to be written",
                command,
                CommandRequest,
                CommandAnswer,
                (*_CHANGE, *_BODY),
                HEADER,
            ),
            Route(
                "GET",
                _PATH,
                self.list_commands,
                "The commands of a machine, the newest first",
                own,
                answer=CommandsAnswer,
                codes=(*_ASK, "malformed", "form"),
                query=CommandsQuery,
            ),
            Route(
                "GET",
                f"{_PATH}/{{command}}",
                self.read_command,
                "A command, its status and its history",
                own,
                answer=CommandAnswer,
                codes=_ASK,
            ),
            Route(
                "POST",
                f"{_PATH}/{{command}}/approve",
                self.approve_command,
                "Agree to a command of somebody else",
                command,
                answer=CommandAnswer,
                codes=_CHANGE,
            ),
            Route(
                "POST",
                f"{_PATH}/{{command}}/cancel",
                self.cancel_command,
                "Take a command back that is not being sent yet",
                command,
                CancelRequest,
                CommandAnswer,
                (*_CHANGE, *_BODY),
            ),
        ]

    async def make_command(self, call: Call) -> Reply:
        request = CommandRequest.model_validate_json(call.body)
        once = Once(call, f"POST {_PATH} {call.params['asset']}")

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            # Locked before the key is looked up: of two requests at once, the second sees what the first has done.
            query = select(assets.c.gateway, assets.c.term).where(assets.c.id == asset.id)
            gateway, term = connection.execute(query.with_for_update(key_share=True)).one()
            again = once.before(connection, self._clock.utc() - int(self._desk.centre.settings.idempotency * 1e9))
            if again is not None:
                return again
            self._check_on()
            order = self._order(connection, asset, gateway, term, request)
            act = Act(call.caller.id, self._clock.utc(), request.reason)
            made = record.make(connection, act, order, self._settings)
            answer = self._answer(connection, asset, made)
            once.keep(connection, answer, act.at)
            return answer

        return Reply(await self._desk.write(work))

    async def approve_command(self, call: Call) -> Reply:
        def work(connection: Connection) -> bytes:
            asset, command = self._command(connection, call)
            self._check_on()
            record.approve(connection, Act(call.caller.id, self._clock.utc()), asset.id, asset.name, command)
            return self._answer(connection, asset, command)

        return Reply(await self._desk.write(work))

    async def cancel_command(self, call: Call) -> Reply:
        request = CancelRequest.model_validate_json(call.body)

        def work(connection: Connection) -> bytes:
            asset, command = self._command(connection, call)
            act = Act(call.caller.id, self._clock.utc(), request.reason)
            record.cancel(connection, act, asset.id, asset.name, command)
            return self._answer(connection, asset, command)

        return Reply(await self._desk.write(work))

    async def list_commands(self, call: Call) -> Reply:
        query = read_query(CommandsQuery, call.query)
        if query.before is not None and not _ID.fullmatch(query.before):
            raise record.unknown(query.before)

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            found = list_commands(
                connection,
                asset.id,
                self._clock.utc(),
                self._settings,
                limit=query.limit,
                before=query.before,
                open_only=query.open,
            )
            return CommandsAnswer(commands=found).model_dump_json().encode()

        return Reply(await self._desk.read(work))

    async def read_command(self, call: Call) -> Reply:
        def work(connection: Connection) -> bytes:
            asset, command = self._command(connection, call)
            return self._answer(connection, asset, command)

        return Reply(await self._desk.read(work))

    def _command(self, connection: Connection, call: Call) -> tuple[Asset, str]:
        asset, command = self._desk.asset(connection, call.caller, call.params["asset"]), call.params["command"]
        if not _ID.fullmatch(command):
            raise record.unknown(command)
        return asset, command

    def _answer(self, connection: Connection, asset: Asset, command: str) -> bytes:
        found = read_command(connection, asset.id, command, self._clock.utc(), self._settings)
        return found.model_dump_json().encode()

    def _check_on(self) -> None:
        if not self._settings.enabled:
            raise RequestError(
                "commands_off", "commands are off here: set enabled = true below [commands] in centre.toml"
            )

    def _order(
        self, connection: Connection, asset: Asset, gateway: int | None, term: int, request: CommandRequest
    ) -> record.Order:
        """`RequestError` if this cannot be asked of this machine."""
        if gateway is None:
            raise RequestError(
                "owner", f"'{asset.name}' belongs to the centre, which writes to no machine: assign it to its gateway"
            )
        if request.term is not None and request.term != term:
            raise RequestError("term", f"'{asset.name}' has term {term} by now, not {request.term}: look again", "term")
        channel = self._channel(connection, asset, gateway, request)
        ttl = self._settings.ttl if request.ttl is None else request.ttl
        return record.Order(asset.id, asset.name, term, gateway, channel.name, request.value, channel.unit, ttl)

    def _channel(self, connection: Connection, asset: Asset, gateway: int, request: CommandRequest) -> Channel:
        """As the bundle has it that the gateway says it runs, if it is known here."""
        bundles = connection.execute(select(gateways.c.bundles).where(gateways.c.id == gateway)).scalar() or {}
        contract = self._desk.contract(connection, asset.asset_class, bundles.get(asset.asset_class))
        if contract is None:
            raise RequestError(
                "not_ready",
                f"the channels of class '{asset.asset_class}' are not known here: serve a bundle of it",
                after=60,
            )
        known = {channel.name: channel for channel in contract.channels}
        channel = known.get(request.channel)
        if channel is None:
            raise RequestError(
                "unknown_channel",
                f"class '{asset.asset_class}' has no channel '{request.channel}': "
                f"{suggest(request.channel, list(known))}; it has {', '.join(known)}",
                "channel",
            )
        if request.unit is not None and request.unit != channel.unit:
            raise RequestError(
                "unit",
                f"{channel.name} is in {channel.unit}, not in {request.unit}: {unit_hint(request.unit, channel.unit)}",
                "unit",
            )
        low, high = channel.range
        if not low <= request.value <= high:
            raise RequestError(
                "range",
                f"{channel.name} = {request.value:g}: {low:g} … {high:g} {channel.unit} is possible",
                "value",
            )
        return channel
