"""What one worker of the service holds: settings, models, lanes, keys, the database. Opened at start, then closed."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from edge_runtime.clock import Clock, SystemClock
from serving.api.auth import Auth
from serving.api.jwt import Tokens
from serving.api.keys import Keys
from serving.api.metrics import Metrics
from serving.api.settings import ServiceSettings
from serving.commands.settings import CommandSettings
from serving.database.engine import Database
from serving.database.schema import check, upgrade
from serving.errors import ConfigError
from serving.models.catalogue import Catalogue
from serving.predict.ask import Ask
from serving.predict.lane import Lane
from serving.predict.predictor import predict
from serving.settings import read_config
from serving.twins.continuing import Continuation, Continuing
from serving.twins.keeping import Keeper

CONFIG, INSECURE = "OVERHAUL_CENTRE", "OVERHAUL_INSECURE"
log = logging.getLogger(__name__)


class Centre:
    """`database` None: neither keys nor stored twins. Histories have a lane of their own, for they take long;
    so have previews of stored twins: whoever may only read holds up nobody who stores."""

    def __init__(
        self,
        settings: ServiceSettings,
        database: Database | None,
        clock: Clock | None = None,
        commands: CommandSettings | None = None,
    ) -> None:
        self.settings, self.database = settings, database
        self.commands = commands or CommandSettings()
        self.clock = clock or SystemClock()
        self.auth = _auth(settings, database)
        self.metrics = Metrics()
        self.catalogue = Catalogue.of(settings.models)
        common: dict[str, Any] = {"waiting": settings.limits.waiting, "gather": settings.gather}

        def lane(name: str, work: Any, **more: Any) -> Lane[Any, bytes]:
            return Lane(name, work, grouped=self.metrics.group.labels(name).observe, **common, **more)

        self.newest: Lane[Ask, bytes] = lane("newest", predict)
        self.histories: Lane[Ask, bytes] = lane("histories", predict, weigh=lambda ask: ask.observations)
        self.stored: Lane[Continuation, bytes] | None = None
        self.previews: Lane[Continuation, bytes] | None = None
        if database is not None:

            def continued(name: str) -> Lane[Continuation, bytes]:
                work = Continuing(
                    database, self.catalogue, self.clock, settings.idempotency, self.metrics.advanced
                ).work
                return lane(name, work, weigh=lambda job: job.ask.observations)

            self.stored, self.previews = continued("stored"), continued("previews")
        self.keeper = None if database is None else Keeper(database, self.clock, settings.snapshot)

    @classmethod
    def from_environment(cls) -> Centre:
        """As the file named in OVERHAUL_CENTRE says; without it the bundles in artifacts/ are served, and no more."""
        settings, database, commands = _read_environment()
        return cls(settings, database, commands=commands)

    def open(self) -> None:
        """Load the models. The database is not asked: see `check_database`."""
        for line in self.catalogue.refresh():
            log.info(line)
        self.metrics.models.set(sum(1 for _ in self.catalogue.shelf))
        if self.settings.insecure:
            log.warning("insecure: no keys are asked for, and only this computer is answered")
        self.catalogue.start()
        if self.keeper is not None:
            self.keeper.start()

    def check_database(self) -> None:
        """Make its tables where the settings say so; `SchemaError` if it has others, `AwayError` if it is away."""
        if self.database is None:
            return
        if self.database.settings.upgrade:
            upgrade(self.database)
        check(self.database)

    async def close(self) -> None:
        """What waits is still answered."""
        lanes = (self.newest, self.histories, self.stored, self.previews)
        await asyncio.gather(*(lane.close() for lane in lanes if lane is not None))
        await asyncio.get_running_loop().run_in_executor(None, self.catalogue.stop)
        if self.keeper is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.keeper.stop)
        if self.database is not None:
            self.database.close()


def check_environment() -> None:
    """`ConfigError` if no worker could begin with these settings; nothing is opened."""
    settings, database, _ = _read_environment()
    _auth(settings, database)


def _read_environment() -> tuple[ServiceSettings, Database | None, CommandSettings | None]:
    path = os.environ.get(CONFIG)
    if path:
        config = read_config(path)
        return config.service, Database(config.database), config.commands
    insecure = os.environ.get(INSECURE, "").lower() in ("1", "true", "yes")
    return ServiceSettings(insecure=insecure), None, None


def _auth(settings: ServiceSettings, database: Database | None) -> Auth:
    keys = None if database is None else Keys(database)
    tokens = None if settings.jwt is None else Tokens(settings.jwt)
    if keys is None and tokens is None and not settings.insecure:
        raise ConfigError(
            f"nobody could use this service: name a centre.toml with a database (for API keys) in {CONFIG}, or, on "
            f"a computer of your own, set {INSECURE}=true"
        )
    return Auth(keys, tokens, insecure=settings.insecure)
