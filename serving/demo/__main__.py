"""`python -m serving.demo`: see `serving.demo`. Ends by itself when all records have been played, or on Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving.demo.errors import DemoError
from serving.demo.stop import Stop

if TYPE_CHECKING:
    from serving.demo.show import Options


def main(arguments: Sequence[str] | None = None) -> int:
    given = _given(arguments)
    with Stop() as stop:
        # Takes a second or more, in which Ctrl-C is to be heard, and no traceback of a library to be shown.
        from serving.demo.show import Show

        if stop.wanted:
            return 0
        try:
            Show(_options(given), stop).run()
        except DemoError as error:
            if stop.wanted:
                return 0
            print(error, file=sys.stderr)
            return 1
    return 0


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving.demo",
        description="A gateway, a broker, a hub, the prediction service and their database on this computer: the last "
        "lives of held-out machines are replayed, faster than real time, until they fail.",
    )
    add = parser.add_argument
    add("--fleet", default="pump", help="whose bundle and records are used (default: pump)")
    add("--machines", type=_machines, default=4, help="how many, or their names: pump-012,pump-027 (default: 4)")
    add("--speed", type=_speed, help="seconds (or cycles) a second (default: the longest life takes 40 s)")
    add("--no-service", action="store_true", help="leave the prediction service out")
    add("--stay", action="store_true", help="go on after the last failure, until Ctrl-C")
    add("--plain", action="store_true", help="lines instead of a live view; always so where there is no terminal")
    add("--folder", type=Path, help="keep all files here (default: a temporary folder that is removed at the end)")
    return parser.parse_args(arguments)


def _options(given: argparse.Namespace) -> Options:
    from serving.demo.show import Options

    return Options(
        fleet=given.fleet,
        machines=given.machines,
        speed=given.speed,
        service=not given.no_service,
        stay=given.stay,
        plain=given.plain,
        folder=given.folder,
    )


def _machines(text: str) -> int | tuple[str, ...]:
    if not text.isdigit():
        return tuple(name.strip() for name in text.split(","))
    if not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text} machines: choose 1 to 20")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 (as fast as it is taken in) to 1e9")
    return speed


if __name__ == "__main__":
    sys.exit(main())
