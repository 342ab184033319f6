"""docs/centre.md: what it says of settings is so, and what can be pasted works."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from serving.database.settings import DatabaseSettings, RetentionSettings
from serving.demo.__main__ import main
from serving.hub.settings import HubSettings
from serving.registry.settings import RegistrySettings
from serving.settings import read_config

GUIDE = (Path(__file__).parents[2] / "docs/centre.md").read_text(encoding="utf-8")


def section(title):
    return re.split(r"\n## ", GUIDE.partition(f"\n## {title}\n")[2])[0]


@pytest.mark.parametrize("settings", [DatabaseSettings, HubSettings, RegistrySettings, RetentionSettings])
def test_every_setting_of_operation_is_told(settings):
    told = section("Operation")
    names = {field.name for field in dataclasses.fields(settings)} - {"folder"}
    named = set(re.findall(r"`(?:\[\w+\] )?(\w+)`", told)) | {"rule"}
    assert names <= named


def test_the_example_of_retention(tmp_path):
    [example] = re.findall(r"```toml\n(.*?)```", section("Operation"), re.DOTALL)
    path = tmp_path / "centre.toml"
    path.write_text(example, encoding="utf-8")
    [rule] = read_config(path).retention.rule
    assert (rule.kind, rule.class_, rule.days, rule.thin, rule.thin_days) == ("prognosis", "pump", 30, 3600, 1825)
    assert tomllib.loads(example)


def test_every_option_of_the_demo_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert options == set(re.findall(r"`(--[a-z-]+)`", section("Try it")))
