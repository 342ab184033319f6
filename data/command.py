"""What the stages' command lines share: one argument, the fleet, and errors a person can read."""

import argparse
import sys
from collections.abc import Callable

from data.errors import DataError


def run(doc: str | None, action: Callable[[argparse.Namespace], None], *options: tuple[str, str]) -> None:
    """Parse `<fleet>` and optional `options` (flag, help), then `action`; a `DataError` ends with its message alone."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("fleet", help="<class> or <class>-<subset>, e.g. pump or turbofan-FD001")
    for flag, explanation in options:
        parser.add_argument(*flag.split(), help=explanation)
    try:
        action(parser.parse_args())
    except DataError as error:
        sys.exit(f"error: {error}")
