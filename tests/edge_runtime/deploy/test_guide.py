"""docs/gateway.md and the examples that are shipped say what the program does."""

import dataclasses
import importlib
import re
import shutil
import subprocess
import sys
import typing
from importlib.resources import files
from pathlib import Path

import pytest

from edge_runtime.gateway.config import SOURCES, read_config
from edge_runtime.gateway.metrics import METRICS
from edge_runtime.gateway.page import status_text
from edge_runtime.mqtt.broker import BrokerSettings
from tests.edge_runtime.gateway.statuses import full_status

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "gateway.md").read_text()
EXAMPLES = sorted(path for path in files("edge_runtime.deploy").iterdir() if path.name.endswith(".toml"))
BLOCKS = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
BASE = """
[gateway]
id = "gw-7"
site = "north"
data = "data"
machines = "machines.csv"
[bundles]
pump = "bundles/pump"
[link]
url = "mqtt://127.0.0.1"
"""


def whole(block):
    """`block` with what it leaves out of a gateway.toml."""
    given = set(tomllib.loads(block))
    sections = re.split(r"^(?=\[)", BASE, flags=re.MULTILINE)
    return "".join(text for text in sections if (text.partition("]")[0][1:] not in given)) + block


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_each_piece_of_toml_is_sound(block, tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(whole(block))
    read_config(path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_each_example_is_sound_and_its_source_stands_in_the_guide(example, tmp_path):
    text = example.read_text()
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    config = read_config(path)
    assert example.name == f"gateway-{config.sources[0].type}.toml"
    assert text[text.index("[[source]]") :] in BLOCKS


def test_there_is_an_example_for_each_type_of_source():
    assert {path.name for path in EXAMPLES} == {f"gateway-{kind}.toml" for kind in SOURCES}


def default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else dataclasses.MISSING


def shown(value):
    """A default as the guide shows it."""
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value in ((), {}) or dataclasses.is_dataclass(value):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:.10g}`"


def keys_of(kind):
    """Key → default as shown; of a connection to a broker only what it has otherwise than others."""
    common = {}
    if issubclass(kind, BrokerSettings) and kind is not BrokerSettings:
        common = {field.name: shown(default(field)) for field in dataclasses.fields(BrokerSettings)}
    told = {field.name.rstrip("_"): shown(default(field)) for field in dataclasses.fields(kind)}
    return {key: text for key, text in told.items() if common.get(key) != text}


def rows_after(marker):
    """The cells of the table that follows `marker`, without its two lines of header."""
    lines = GUIDE.partition(marker)[2].strip().splitlines()
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


TABLES = re.findall(r"<!-- keys: ([\w.]+) -->", GUIDE)


@pytest.mark.parametrize("name", TABLES)
def test_each_key_is_in_its_table_with_its_default(name):
    module, _, attribute = name.rpartition(".")
    expected = keys_of(getattr(importlib.import_module(module), attribute))
    assert {row[0].strip("`"): row[1] for row in rows_after(f"<!-- keys: {name} -->")} == expected


def settings_within(kind):
    """`kind` and the dataclasses that its fields hold, to any depth."""
    yield kind
    for hint in map(str, typing.get_type_hints(kind, include_extras=True).values()):
        for name in re.findall(r"edge_runtime(?:\.\w+)+", hint):
            module, _, attribute = name.rpartition(".")
            found = getattr(importlib.import_module(module), attribute, None)
            if (
                isinstance(found, type)
                and dataclasses.is_dataclass(found)
                and found.__name__ not in ("Between", "Example")
            ):
                yield from settings_within(found)


@pytest.mark.parametrize("kind", SOURCES)
def test_all_settings_of_a_source_have_a_table(kind):
    module, settings, _ = SOURCES[kind]
    for needed in settings_within(getattr(importlib.import_module(module), settings)):
        assert f"{needed.__module__}.{needed.__qualname__}" in TABLES


def test_each_metric_is_in_the_table_and_each_one_there_exists():
    told = {row[0].strip("`"): row[1] for row in rows_after("<!-- metrics -->")}
    assert told == {metric.name: ", ".join(f"`{name}`" for name in metric.labels) or "–" for metric in METRICS}


def test_metrics_that_are_named_elsewhere_exist():
    assert set(re.findall(r"overhaul_edge_\w+", GUIDE)) == {metric.name for metric in METRICS}


def test_the_page_of_the_status_is_a_real_one():
    example = "\n".join(f"    {line}" for line in status_text(full_status()).splitlines())
    assert example in GUIDE


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", GUIDE)) <= anchors


def test_the_files_that_are_named_are_shipped():
    named = set(re.findall(r"deploy/([\w.-]+\w)", GUIDE))
    assert named == {path.name for path in files("edge_runtime.deploy").iterdir() if path.name in named}
    assert {"mosquitto.conf", "overhaul.acl", "overhaul-edge.service", "Dockerfile", "jetson.conf"} <= named


def test_what_is_on_no_index_is_installed_from_its_wheel():
    installs = re.findall(r"^    .*pip install.*$", GUIDE, re.MULTILINE)
    assert len([line for line in installs if "overhaul-*.whl" in line]) == 2
    assert not [line for line in installs if re.search(r"[ ']overhaul(\[|$)", line)]
    assert "uv build --wheel" in GUIDE


def test_the_image_is_built_from_files_that_are_there():
    commands = re.findall(r"docker build -f (\S+) -t \S+ (\S+)", GUIDE)
    assert commands == re.findall(r"docker build -f (\S+) -t \S+ (\S+)", (ROOT / commands[0][0]).read_text())
    assert commands[0][1] == "dist/", "where `uv build` puts the wheel"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed here")
def test_the_certificates_of_the_guide_are_good(tmp_path):
    (commands,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True, capture_output=True)
    for purpose, name in (("sslserver", "broker"), ("sslclient", "gw-7")):
        verify = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", f"{name}.pem"]
        assert (
            subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
            == f"{name}.pem: OK\n"
        )
    assert (tmp_path / "gw-7.key").stat().st_mode & 0o777 == 0o600
