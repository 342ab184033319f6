"""The Dockerfile says what the package has; its steps themselves need a network and a clean root (docs/gateway.md)."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from edge_runtime.cli import main

ROOT = Path(__file__).parents[3]


def instructions():
    """Word and rest of each instruction, continued lines joined."""
    text = (files("edge_runtime.deploy") / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


def test_nothing_runs_as_root():
    words = [word for word, _ in instructions()]
    assert dict(instructions())["USER"] == "overhaul"
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "ADD" not in words


def test_the_extras_are_those_of_the_package():
    (install,) = (rest for word, rest in instructions() if word == "RUN" and "pip install" in rest)
    extras = re.search(r"\[([a-z,]+)\]", install)[1].split(",")
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert set(extras) <= set(re.findall(r"^(\w+) =", declared, re.MULTILINE))
    assert {"gateway", "opcua", "modbus", "sparkplug"} <= set(extras)


def test_python_is_one_that_the_package_runs_on():
    version = re.fullmatch(r"python:3\.(\d+)-slim", dict(instructions())["FROM"])
    assert 10 <= int(version[1]) <= 13


@pytest.mark.parametrize("word", ["CMD", "HEALTHCHECK"])
def test_its_commands_are_known(word, capsys):
    command = next(json.loads(rest[rest.index("[") :]) for name, rest in instructions() if name == word)
    command = command[1:] if command[0] == "overhaul-edge" else command
    assert command[-1] == "/etc/overhaul/gateway.toml"
    assert main(command) == 1  # there is no such file, and it says so
    assert "/etc/overhaul/gateway.toml cannot be read" in capsys.readouterr().err
