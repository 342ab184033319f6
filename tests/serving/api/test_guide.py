"""docs/centre.md: each piece of TOML is read, tables of settings and codes are whole, requests to paste are sound."""

import dataclasses
import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from serving import settings
from serving.api.errors import STATUS
from serving.predict.forms import PredictRequest
from serving.predict.reading import _check_form
from serving.settings import read_config

GUIDE = (Path(__file__).parents[3] / "docs/centre.md").read_text(encoding="utf-8")
# What is told just before may say that it belongs to the other side: to gateway.toml.
FOUND = re.findall(r"([^\n]*\n)?\n?```toml\n(.*?)```", GUIDE, re.DOTALL)
TOML = [text for before, text in FOUND if "gateway.toml" not in before]
TOML += re.findall(r"cat > centre.toml <<'END'\n(.*?)END\n", GUIDE, re.DOTALL)
TABLES = re.findall(r"<!-- keys: ([\w.]+) -->", GUIDE)


@pytest.mark.parametrize("text", TOML, ids=range(len(TOML)))
def test_each_piece_of_toml_is_sound(text, tmp_path):
    whole = text if "database" in tomllib.loads(text) else '[database]\nurl = "sqlite:///centre.db"\n' + text
    (tmp_path / "centre.toml").write_text(whole, encoding="utf-8")
    read_config(tmp_path / "centre.toml")


def test_each_section_is_told():
    for name in settings._SECTIONS:
        assert f"`[{name}]`" in GUIDE


def shown(field):
    """A default as the guide shows it."""
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value == () or dataclasses.is_dataclass(value):
        return "–"
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return f"`{value:.10g}`" if type(value) in (int, float) else f"`{json.dumps(plain)}`"


def rows_after(marker):
    """The cells of the table that follows `marker`, without its two lines of header."""
    lines = GUIDE.partition(marker)[2].strip().splitlines()
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@pytest.mark.parametrize("name", TABLES)
def test_each_key_is_in_its_table_with_its_default(name):
    module, _, attribute = name.rpartition(".")
    kind = getattr(importlib.import_module(module), attribute)
    expected = {field.name: shown(field) for field in dataclasses.fields(kind) if field.name != "base"}
    assert {row[0].strip("`"): row[1] for row in rows_after(f"<!-- keys: {name} -->")} == expected


def test_the_settings_of_the_service_have_tables():
    named = {name.rpartition(".")[2] for name in TABLES}
    assert named >= {"ServiceSettings", "LimitSettings", "JwtSettings", "ModelsSettings", "RegistrySettings"}


def test_each_member_of_a_request_is_told():
    told = {name for row in rows_after("The members of a request:") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == {field.alias or name for name, field in PredictRequest.model_fields.items()}


def test_all_codes_are_told_with_their_status():
    rows = rows_after("the message says what to do.")
    assert {code: int(row[0]) for row in rows for code in re.findall(r"`([a-z_]+)`", row[1])} == STATUS


def test_what_is_pasted_has_its_keys():
    """A variable that is used was set above it."""
    known = set()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL):
        for line in block.splitlines():
            assert set(re.findall(r"\$([A-Z]\w*)", line)) <= known, line
            known |= set(re.findall(r"^([A-Z]\w*)=", line))


BODIES = re.findall(r"localhost:3000/predict .*?-d '(.*?)'\n", GUIDE, re.DOTALL)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_each_request_is_sound(body):
    request = PredictRequest.model_validate_json(body)
    _check_form(request)
    channels = {"flow", "inlet_pressure", "outlet_pressure"}  # of the pump
    sent = [observation.readings for observation in request.observations or []]
    assert set().union(*sent, request.columns.readings if request.columns else ()) <= channels


def test_there_is_a_request_of_each_form():
    assert len(BODIES) == 3
