"""Logging of the running gateway: one JSON object or one line of text a message, to standard error.

Messages that repeat, as those of a source that cannot connect, are cut to `repeats` a minute and then counted: a broken
cable must not wear out the flash. Only `configure` touches the logging of the process, and only `run` calls it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from edge_runtime.clock import Clock, SystemClock

if TYPE_CHECKING:
    from edge_runtime.gateway.config import LogSettings

MINUTE = 60_000_000_000
MOST_KEYS = 1_000  # messages told apart; more are counted together
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, `extra` fields, and the exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info and record.exc_info[1] is not None:
            told["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(told, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """For people: 2026-01-03T10:00:00.000Z warning edge_runtime.sources.mqtt.source: message (key=value)."""

    def format(self, record: logging.LogRecord) -> str:
        extra = ", ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _PLAIN)
        line = f"{_utc(record.created)} {record.levelname.lower()} {record.name}: {record.getMessage()}"
        line += f" ({extra})" if extra else ""
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        return line


class RepeatFilter(logging.Filter):
    """Lets `repeats` messages of one logger and text template through in a minute; the next one after it tells how
    many were left out, as `left_out`."""

    def __init__(self, repeats: int, clock: Clock) -> None:
        super().__init__()
        self._repeats, self._clock = repeats, clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int, str], list[int]] = {}  # → start of its minute, messages in it, left out

    def filter(self, record: logging.LogRecord) -> bool:
        # The template, not the text: counts and addresses differ from one repetition to the next.
        key = (record.name, record.levelno, str(record.msg))
        now = self._clock.monotonic()
        with self._lock:
            if key not in self._seen and len(self._seen) >= MOST_KEYS:
                self._forget(now)
                key = key if len(self._seen) < MOST_KEYS else ("", 0, "")
            entry = self._seen.setdefault(key, [now, 0, 0])
            if now - entry[0] >= MINUTE:
                entry[:2] = [now, 0]
            if entry[1] >= self._repeats:
                entry[2] += 1
                return False
            entry[1] += 1
            left_out, entry[2] = entry[2], 0
        if left_out:
            record.left_out = left_out
        return True

    def _forget(self, now: int) -> None:
        self._seen = {key: entry for key, entry in self._seen.items() if entry[2] or now - entry[0] < MINUTE}


def configure(settings: LogSettings, stream: TextIO | None = None, clock: Clock | None = None) -> logging.Handler:
    """Send all logging of the process to `stream` (standard error) as `settings` say; replaces what was set up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    handler.addFilter(RepeatFilter(settings.repeats, clock or SystemClock()))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    for name, level in _CHATTY.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    return handler


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged but errors of this program, which have a traceback: for commands that tell all themselves."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter())
    handler.addFilter(lambda record: record.name.startswith("edge_runtime") and record.exc_info is not None)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


# Libraries that tell each request, or each failed one with a traceback of their own.
_CHATTY: Mapping[str, int] = {"asyncua": logging.ERROR, "pymodbus": logging.ERROR, "asyncio": logging.WARNING}


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
