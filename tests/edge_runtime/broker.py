"""MQTT brokers for tests: real ones, each in its own process on a free port of 127.0.0.1, that can be killed.

`broker` is a fixture over all brokers that are installed, `iotcore` one for tests where the broker does not matter. A
test module takes what it needs: `from tests.edge_runtime.broker import broker  # noqa: F401`.
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
KINDS = [
    "iotcore",
    pytest.param("mosquitto", marks=pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed here")),
]
MAX_PAYLOAD = 262_144  # bytes, of a whole packet
_START = "import sys; from iotcore.iotcore import IotCoreBroker; IotCoreBroker(config_path=sys.argv[1]).run_forever()"


def until(condition: Callable[[], object], seconds: float = 60.0, what: str = "it") -> None:
    """Poll until `condition()` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    """An MQTT 5 broker. What it held is gone after `kill`: neither kind is told to keep anything on disk.

    `users` name → password (else anybody may come in); `tls` (ca, certificate, key) files of the listener, which then
    asks clients for a certificate of that ca.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        tls: tuple[Path, Path, Path] | None = None,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self.kind, self.folder, self.users, self.tls, self.max_payload = kind, folder, users, tls, max_payload
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For clients on this computer."""
        return f"mqtts://localhost:{self.port}" if self.tls else f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> "Broker":
        assert self.process is None, "it runs"
        command = self._mosquitto() if self.kind == "mosquitto" else self._iotcore()
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(self._listens, what=f"{self.kind} listening on port {self.port}")
        return self

    def kill(self) -> None:
        """SIGKILL: sessions, queues and retained messages are lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop answering, without closing anything; until `go_on`."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _listens(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "broker.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _iotcore(self) -> list[str]:
        lines = [
            "id = 0",
            "[router]",
            "id = 0",
            "max_connections = 1000",
            "max_outgoing_packet_count = 200",
            "max_segment_size = 104857600",
            "max_segment_count = 10",
            "[v5.1]",
            'name = "v5-1"',
            f'listen = "127.0.0.1:{self.port}"',
            "next_connection_delay_ms = 1",
            "[v5.1.connections]",
            "connection_timeout_ms = 60000",
            f"max_payload_size = {self.max_payload}",
            "max_inflight_count = 100",  # rumqttd has no more than 100 on their way, and less only by chance
            "dynamic_filters = true",
        ]
        if self.users is not None:
            lines += ["[v5.1.connections.auth]", *(f'{name} = "{word}"' for name, word in self.users.items())]
        if self.tls:
            names = zip(("capath", "certpath", "keypath"), self.tls, strict=True)
            lines += ["[v5.1.tls]", *(f'{name} = "{path}"' for name, path in names)]
        path = self.folder / "iotcore.toml"
        path.write_text("\n".join(lines))
        return [sys.executable, "-c", _START, str(path)]

    def _mosquitto(self) -> list[str]:
        assert MOSQUITTO
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            f"max_packet_size {self.max_payload}",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            "log_type warning",
            "log_type error",
        ]
        if self.users is None:
            lines.append("allow_anonymous true")
        else:
            passwords = self.folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in self.users.items()))
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if self.tls:
            names = zip(("cafile", "certfile", "keyfile"), self.tls, strict=True)
            lines += [*(f"{name} {path}" for name, path in names), "require_certificate true"]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join(["user root", *lines]))
        return [MOSQUITTO, "-c", str(path)]


@contextmanager
def running(kind: str, folder: Path, **options):
    """A started broker, killed at the end."""
    folder.mkdir(exist_ok=True)
    with Broker(kind, folder, **options) as started:
        yield started


@pytest.fixture(params=KINDS)
def broker(request, tmp_path):
    with running(request.param, tmp_path / "broker") as started:
        yield started


@pytest.fixture
def iotcore(tmp_path):
    with running("iotcore", tmp_path / "broker") as started:
        yield started
