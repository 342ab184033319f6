"""The examples of gateway.toml in the docstrings can be pasted."""

import sys
from pathlib import Path

import pytest

from edge_runtime.decode import decode_strict
from edge_runtime.sources.modbus import settings as modbus_settings
from edge_runtime.sources.opcua import settings as opcua_settings
from edge_runtime.sources.replay import source as replay

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    ("module", "kind", "settings"),
    [
        (modbus_settings, "modbus", modbus_settings.ModbusSettings),
        (opcua_settings, "opcua", opcua_settings.OpcuaSettings),
        (replay, "replay", replay.ReplaySettings),
    ],
)
def test_the_example_of_a_source_is_valid(module, kind, settings):
    example, _, _ = module.__doc__[module.__doc__.index("[[source]]\n") :].partition("\n\n")
    (given,) = tomllib.loads(example)["source"]
    assert given.pop("type") == kind
    assert decode_strict(settings, given, "source", Path()).name == given["name"]
