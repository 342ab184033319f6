"""The demo's processes: each in a group of its own with a log file, all ended in order however the demo ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

import serving
from serving.demo.errors import DemoError

ROOT = Path(serving.__file__).parents[1]
PATIENCE = 5.0  # seconds to end in an orderly way
_MARK = "OVERHAUL_DEMO"  # in the environment of all that belongs to a demo: its folder
_SHOWN = 15  # lines of a log
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Of Linux; elsewhere a demo that is killed leaves its parts running.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True)
class Part:
    """One process. Those with a higher `last` are ended later: the broker after those who talk through it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    last: int

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


class Processes:
    """Started into `folder`. `stop` may be called at any time and again."""

    def __init__(self, folder: Path) -> None:
        if _prctl is not None:
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # workers of a server that died become our children, and are found
        self.folder = folder
        self.parts: list[Part] = []

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], last: int = 0) -> None:
        """`python -m <arguments>`; what it prints goes to `<folder>/<name>.log`."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={**os.environ, **environment, _MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which ends them in order
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        self.parts.append(Part(name, process, log, last))

    def check(self) -> None:
        """`DemoError` if one of them has ended."""
        for part in self.parts:
            if not part.alive:
                raise DemoError(f"the {part.name} has ended with code {part.process.returncode}\n{self.told(part)}")

    def told(self, part: Part) -> str:
        """The end of its log."""
        lines = part.log.read_text(errors="replace").splitlines()[-_SHOWN:]
        return "\n".join([f"its log is {part.log}" + (", and ends with" if lines else ""), *lines])

    def stop(self) -> None:
        """SIGTERM, a few seconds to follow it, then SIGKILL."""
        for last in sorted({part.last for part in self.parts}):
            own = [part for part in self.parts if part.last == last]
            for part in own:
                if part.alive:
                    part.process.terminate()
            deadline = time.monotonic() + PATIENCE
            for part in own:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    part.process.wait(max(0.0, deadline - time.monotonic()))
                part.process.kill()
                part.process.wait()
        self.kill()
        self.parts.clear()

    def kill(self) -> None:
        """All that descends from the parts, at once: a server's workers have sessions of their own."""
        if not self.parts:
            return
        found = [process for process in psutil.Process().children(recursive=True) if self._is_ours(process)]
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=PATIENCE)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return bool(process.environ().get(_MARK) == str(self.folder))
        except psutil.Error:  # it has ended
            return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _end_with_parent() -> None:
    """In the child: should the demo itself be killed, the kernel ends this process."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
