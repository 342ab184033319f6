"""`python -m serving.hub --config centre.toml`: run one hub until SIGTERM or Ctrl-C.

Several hubs share the work: give each a name of its own, `--name hub-2`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.clock import SystemClock
from edge_runtime.gateway.logs import configure
from edge_runtime.gateway.signals import Signals
from edge_runtime.gateway.systemd import Notifier
from serving.assignments.bundles import Bundles
from serving.assignments.send import AssignmentSender
from serving.commands.keys import load_key
from serving.commands.send import CommandSender
from serving.commands.settings import CommandSettings
from serving.database.engine import Database
from serving.database.retention import Retention
from serving.database.schema import check, upgrade
from serving.errors import ConfigError, ServingError
from serving.hub.hub import Hub
from serving.hub.outbox import Sender
from serving.hub.settings import BrokerSettings
from serving.settings import CentreConfig, read_config

log = logging.getLogger("serving.hub")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.hub", description="Takes what all gateways send.")
    parser.add_argument("--config", type=Path, required=True, help="centre.toml")
    parser.add_argument("--name", help="of this hub, when there are several")
    options = parser.parse_args(arguments)
    try:
        config = read_config(options.config)
        if options.name:
            config = dataclasses.replace(config, hub=dataclasses.replace(config.hub, name=options.name))
        run(config)
    except (ServingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(config: CentreConfig) -> None:
    """Until SIGTERM or SIGINT."""
    if config.broker is None:
        raise ConfigError(f'{config.path}: the hub needs a broker: write [broker] and below it url = "mqtts://…"')
    senders = [*_senders(config.commands), *_assignments(config)]
    database = Database(config.database)
    try:
        if config.database.upgrade:
            upgrade(database)
        check(database)
        _serve(config, config.broker, database, senders)
    finally:
        database.close()


def _senders(commands: CommandSettings) -> list[Sender]:
    """What this hub sends down; `ConfigError` if the key of commands cannot be used."""
    if not commands.enabled:
        return []
    return [CommandSender(commands, None if commands.key is None else load_key(commands.key))]


def _assignments(config: CentreConfig) -> list[Sender]:
    settings = config.assignments
    if not settings.enabled:
        return []
    section, path = ("commands", config.commands.key) if settings.key is None else ("assignments", settings.key)
    if path is None:
        raise ConfigError(
            f"{config.path}: assignments are signed: write key = … under [assignments] or [commands]; make one with "
            "python -m serving.commands keys make FILE"
        )
    find = Bundles(config.service.models).find if settings.replay else None
    return [AssignmentSender(settings, load_key(path, section), find, rest=1.0)]


def _serve(config: CentreConfig, broker: BrokerSettings, database: Database, senders: Sequence[Sender]) -> None:
    configure(config.log)
    clock, notifier = SystemClock(), Notifier()
    hub = Hub(database, broker, config.hub, config.registry, clock, senders)
    retention = Retention(database, config.retention, clock)
    if config.commands.enabled and config.commands.key is None:
        log.warning("this hub sends no commands: it has no [commands] key")
    with Signals((signal.SIGTERM, signal.SIGINT)) as signals:
        hub.start()
        retention.start()
        ready = False
        while not signals.wait(0.1):
            if hub.ready != ready:
                ready = hub.ready
                log.info("hub %s is %s", config.hub.name, "ready" if ready else f"not ready: {hub.detail}")
                if ready:
                    notifier.ready()
        notifier.stopping()
        retention.stop()
        hub.stop()
    log.info("hub %s has stopped after %d messages", config.hub.name, hub.committed)


if __name__ == "__main__":
    sys.exit(main())
