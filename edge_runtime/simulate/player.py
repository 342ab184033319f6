"""What simulators share: the arguments that say what to play and how, and playing it in an asyncio loop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock, SystemClock
from edge_runtime.errors import EdgeError
from edge_runtime.sources.replay.playback import schedule
from edge_runtime.sources.replay.recording import Block, Recording, Row, Side

Show = Callable[[Row | Block], Awaitable[None]]


def add_playing(parser: argparse.ArgumentParser, port: int) -> None:
    """The arguments of `open_recording` and `play`, and where to listen."""
    parser.add_argument("file", type=Path, help="CSV or Parquet with columns asset, time and channels")
    parser.add_argument("--unit", choices=("s", "cycle"), default="s", help="of the times in the file (default s)")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="X", help="seconds, or cycles, a second (default 1)"
    )
    parser.add_argument("--loop", action="store_true", help="from the beginning again, for ever")
    parser.add_argument("--keep-times", action="store_true", help="do not move times so that they seem to be now")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=port, help=f"default {port}; 0: any free one")


def open_recording(options: argparse.Namespace, sides: list[Side] | None = None) -> Recording:
    return Recording(options.file, options.unit, sides or [])


async def play(recording: Recording, options: argparse.Namespace, show: Show, clock: Clock | None = None) -> None:
    """Show everything when it is due; returns at the end of the recording."""
    clock = clock or SystemClock()
    for due, item in schedule(recording, clock, options.speed, options.loop, not options.keep_times):
        wait = due - clock.monotonic()
        await asyncio.sleep(max(0, wait) / 1e9)
        await show(item)


async def play_and_stay(recording: Recording, options: argparse.Namespace, show: Show) -> None:
    """The same, and then keep the last values there until the loop is stopped."""
    await play(recording, options, show)
    print(f"finished: {len(recording):,} observations; the last ones stay (Ctrl-C ends)", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


def run_until_interrupted(main: Coroutine[Any, Any, None]) -> None:
    """Ctrl-C cancels `main`, which then ends in its own way; a second one does not wait for that.

    As asyncio.run does from Python 3.11 on. Before, it raised KeyboardInterrupt wherever the loop happened to be, also
    in the callback that would have closed a socket.
    """

    async def interruptible() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)

        def interrupt() -> None:
            loop.remove_signal_handler(signal.SIGINT)
            task.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(interruptible())
    print("stopped", file=sys.stderr)


def require_port(host: str, port: int) -> None:
    """`EdgeError` unless a server can listen there; the libraries would show their tracebacks."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise EdgeError(
            f"cannot listen at port {port} of {host} ({error.strerror}): choose another by --port"
        ) from error


def quoted(text: str) -> str:
    """A TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 < speed < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return speed
