"""`python -m serving.commands keys make FILE`: the key pair of commands, and what to write where."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.commands.keys import make_keys
from serving.errors import ServingError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.commands", description="Commands to machines.")
    keys = parser.add_subparsers(dest="what", required=True).add_parser("keys", help="that they are signed with")
    make = keys.add_subparsers(dest="action", required=True).add_parser("make", help="a new pair")
    make.add_argument("file", type=Path, help="for the private key, such as commands.pem")
    options = parser.parse_args(arguments)
    try:
        public = make_keys(options.file)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.file}: the private key, for hubs only. In their centre.toml, below [commands]:\n")
    print(f'    enabled = true\n    key = "{options.file.absolute()}"\n')
    print(f"{public}: the public key. Copy it to each gateway; in its gateway.toml, below [commands]:\n")
    print(f'    public_key = "{public.name}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
