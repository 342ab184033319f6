"""A hub in a process of its own, that can be killed."""

import signal
import subprocess
import sys
from pathlib import Path

from serving.database.settings import DatabaseSettings
from tests.edge_runtime.broker import until

ROOT = Path(__file__).parents[3]


class HubProcess:
    """`python -m serving.hub` on a database and a broker; `more` lines of centre.toml."""

    def __init__(self, folder: Path, database: DatabaseSettings, url: str, name: str = "hub", more: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.name, self.config, self.log = name, folder / f"{name}.toml", folder / f"{name}.log"
        lines = [
            "[database]",
            f'url = "{database.target().render_as_string() if not database.sqlite else url_of(database)}"',
            "[broker]",
            f'url = "{url}"',
            "[hub]",
            f'name = "{name}"',
            "wait = 0.02",
            "[registry]",
            "adopt = true",
            "[log]",
            'format = "text"',
            more,
        ]
        self.config.write_text("\n".join(lines))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: bool = True) -> "HubProcess":
        assert self.process is None, "it runs"
        before = self.text().count("is ready")
        with self.log.open("ab") as log:
            options = ["-W", "error", "-X", "faulthandler"]
            command = [sys.executable, *options, "-m", "serving.hub", "--config", str(self.config)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        if ready:
            until(lambda: self.text().count("is ready") > before or self.process.poll() is not None, 30, "the hub")
            assert self.process.poll() is None, self.text()
        return self

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM; its exit code. One that hangs says where."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"the hub does not end: {self.text()}") from None
        self.process = None
        return code

    def __enter__(self) -> "HubProcess":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def url_of(database: DatabaseSettings) -> str:
    return f"sqlite:///{database.folder / database.url.removeprefix('sqlite:///')}"
