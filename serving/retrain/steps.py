"""What is run to train a new model, in order; printed by --dry-run, run otherwise."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from serving.errors import ConfigError, InvalidError

NOT_GOOD_ENOUGH = 3  # how `training.promote` ends when it refuses
FEWEST_FAILED = 3  # machines: two to cross-validate, one to test; see `data.splits`

Run = Callable[[Sequence[str]], int]


def commands(fleet: str, sources: Path, params: Path = Path("params.yaml")) -> list[list[str]]:
    """After the export: keep the data in DVC, then run all stages on the new fleet and those that were there.

    `dvc exp run` takes the outputs of fleets that are not named out of the folder, so all are named.
    """
    try:
        listed = yaml.safe_load(params.read_text(encoding="utf-8")).get("fleets") or []
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise ConfigError(f"{params} cannot be read ({error}): run this in the root of the repository") from error
    fleets = ",".join(dict.fromkeys([*listed, fleet]))
    dvc = [sys.executable, "-m", "dvc"]
    return [[*dvc, "add", str(sources / fleet)], [*dvc, "exp", "run", "-S", f"fleets=[{fleets}]"]]


def promotion(fleet: str, *, judge_only: bool = False) -> list[str]:
    """Last: the new version becomes the champion if it passes the rules. Nothing imports `training`: a command."""
    return [sys.executable, "-m", "training.promote", fleet, *(["--dry-run"] if judge_only else [])]


def shown(command: Sequence[str]) -> str:
    """As one types it."""
    if list(command[1:3]) == ["-m", "dvc"]:
        return shlex.join(["dvc", *command[3:]])
    return shlex.join(["python", *command[1:]] if command[0] == sys.executable else command)


def require_failures(manifest: dict[str, Any]) -> None:
    """`InvalidError` if nothing could be learned from an export: before minutes are spent to find out."""
    failed = sum(any(kind == "failure" for _, kind in own["ends"]) for own in manifest["per_machine"].values())
    if failed < FEWEST_FAILED:
        raise InvalidError(
            f"{failed} machines of {manifest['fleet']} have failed, {FEWEST_FAILED} at least are needed to train and "
            "to test: give their failures by --failures, or wait"
        )


def run(command: Sequence[str]) -> int:
    """The stages call `python`: that is this one, also where cron started it and no environment is active."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode


def run_all(todo: Sequence[Sequence[str]], run: Run = run, expected: int = 0) -> int:
    """One after another; the last exit code: 0, or `expected`. Any other ends it."""
    code = 0
    for command in todo:
        print(shown(command), flush=True)
        code = run(command)
        if code not in (0, expected):
            raise InvalidError(f"{shown(command)} ended with {code}: see above; nothing was promoted")
    return code
