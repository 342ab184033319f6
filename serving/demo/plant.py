"""The centre and the gateway of the demo: their files of settings, and the order they are started in."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.database.engine import Database
from serving.database.schema import upgrade
from serving.database.settings import DatabaseSettings
from serving.demo.errors import DemoError
from serving.demo.processes import Processes, free_port, listens
from serving.demo.recording import Stage
from serving.registry.audit import Act
from serving.registry.owners import register

SITE, GATEWAY = "demo", "gw-demo"
START = 120.0  # seconds that a part may take to come up

_CENTRE = """\
[database]
url = "sqlite:///centre.db"

[broker]
url = "mqtt://127.0.0.1:{broker}"

[hub]
wait = 0.05

[service]
insecure = true  # no keys: only this computer is answered

[service.models]
folders = [{bundle}]

[log]
format = "text"
"""

_GATEWAY = """\
[gateway]
id = "{gateway}"
site = "{site}"
data = "gateway"
machines = "machines.csv"

[bundles]
{asset_class} = {bundle}

[journal]
commit_after = 0.2

[link]
url = "mqtt://127.0.0.1:{broker}"
block_every = 0.25

[http]
enabled = false

[log]
format = "text"

[[source]]
type = "replay"
name = "recorded"
path = "recording.parquet"
unit = "{unit}"
speed = {speed!r}
waveforms = [{waveforms}]
"""


def gateway_settings(stage: Stage, speed: float, broker: int) -> str:
    """gateway.toml, beside what `prepare` has written."""
    return _GATEWAY.format(
        gateway=GATEWAY,
        site=SITE,
        asset_class=stage.contract.asset_class,
        bundle=json.dumps(str(stage.bundle)),
        broker=broker,
        unit=stage.contract.time.unit,
        speed=float(speed),
        waveforms=", ".join(_waveform(stage, name) for name in stage.waveforms),
    )


def _waveform(stage: Stage, name: str) -> str:
    [axes] = [len(each.axes) for each in stage.contract.waveforms if each.name == name]
    return f"{{ channel = {json.dumps(name)}, axes = {axes} }}"


@dataclass(frozen=True)
class Ports:
    broker: int
    service: int | None  # None: none is started


class Plant:
    """Everything that runs, in `folder`. `stopped` says whether the user wants it to end."""

    def __init__(self, folder: Path, bundle: Path, *, service: bool, stopped: Callable[[], bool]) -> None:
        self.folder, self.bundle = folder, bundle
        self.processes = Processes(folder)
        self.ports = Ports(free_port(), free_port() if service else None)
        self.database = Database(DatabaseSettings(url="sqlite:///centre.db", folder=folder))
        self._stopped = stopped

    @property
    def url(self) -> str | None:
        """Of the service."""
        return None if self.ports.service is None else f"http://127.0.0.1:{self.ports.service}"

    def start_centre(self) -> None:
        """Database, broker, hub and service; they come up while other things are done."""
        config = self.folder / "centre.toml"
        config.write_text(_CENTRE.format(broker=self.ports.broker, bundle=json.dumps(str(self.bundle.absolute()))))
        self.processes.start("broker", ["serving.demo.broker", str(self.folder), str(self.ports.broker)], {}, last=1)
        upgrade(self.database)
        if self.ports.service is not None:
            temporary = self.folder / "tmp"  # BentoML leaves folders there, where it is ended by a signal
            temporary.mkdir()
            environment = {
                "TMPDIR": str(temporary),
                "OVERHAUL_CENTRE": str(config),
                "BENTOML_HOME": str(self.folder / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
                "DO_NOT_TRACK": "1",
            }
            serve = ["bentoml", "serve", "serving.service:Overhaul", "--port", str(self.ports.service)]
            self.processes.start("service", serve, environment)
        self.processes.start("hub", ["serving.hub", "--config", str(config)], {})

    def start_gateway(self, stage: Stage, speed: float) -> None:
        """Its machines are registered as its own first; it begins to play at once."""
        with self.database.write() as connection:
            act = Act("demo", time.time_ns(), "serving.demo")
            for machine in stage.machines:
                register(connection, act, machine.asset, stage.contract.asset_class, gateway=GATEWAY, site=SITE)
        config = self.folder / "gateway.toml"
        config.write_text(gateway_settings(stage, speed, self.ports.broker))
        self._until(lambda: listens(self.ports.broker), "broker")
        self.processes.start("gateway", ["edge_runtime.cli", "run", str(config)], {})

    def wait_for_service(self) -> None:
        if self.url is not None:
            self._until(lambda: self._answers("/readyz"), "service")

    def ask(self, path: str, body: Any = None) -> Any:
        """What the service answers; `DemoError` if that is an error."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise DemoError(f"the service answers {path} with {error.code}: {error.read()[:500]!r}") from error
        except OSError as error:
            raise DemoError(f"the service does not answer {path}: {error}; its log is in {self.folder}") from error

    def stop(self) -> None:
        self.processes.stop()
        self.database.close()

    def _answers(self, path: str) -> bool:
        try:
            self.ask(path)
        except DemoError:
            return False
        return True

    def _until(self, holds: Callable[[], bool], name: str) -> None:
        """Wait until a part is up, or the user wants to stop; `DemoError` if something has ended, or it takes long."""
        deadline = time.monotonic() + START
        while not self._stopped() and not holds():
            self.processes.check()
            if time.monotonic() > deadline:
                [part] = [part for part in self.processes.parts if part.name == name]
                raise DemoError(
                    f"the {name} is not up after {START:g} s: if other programs keep this computer busy, close them "
                    f"and start again\n{self.processes.told(part)}"
                )
            time.sleep(0.1)
