"""What systemd wants to hear from a service of `Type=notify` (sd_notify(3)): datagrams to the socket NOTIFY_SOCKET.

Without that variable, that is, outside systemd, nothing is sent and nothing is wrong.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells systemd how the service fares; never raises, whatever became of the socket.

    `watchdog`: seconds within which `alive` must be called (WATCHDOG_USEC), or None. Call it about twice as often, and
    only while the engine moves: a service that hangs is then restarted.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog = _watchdog(environment)

    @property
    def enabled(self) -> bool:
        return bool(self._address)

    def ready(self, status: str = "") -> bool:
        return self._send("READY=1", status)

    def alive(self) -> bool:
        return self._send("WATCHDOG=1")

    def status(self, status: str) -> bool:
        return self._send("", status)

    def stopping(self, status: str = "") -> bool:
        return self._send("STOPPING=1", status)

    def extend(self, seconds: float) -> bool:
        """Ask for more time while starting or stopping, as when a long journal is replayed."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, state: str, status: str = "") -> bool:
        """True if it was sent. Status is one line: systemd takes each line for a variable."""
        if not self._address:
            return False
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto("\n".join(lines).encode(), address)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return False
        return True


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Seconds, if it is this process that is watched."""
    micros, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not micros.isdecimal() or int(micros) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(micros) / 1e6
