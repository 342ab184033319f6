"""centre.toml: all that is wrong with it is told at once."""

from pathlib import Path

import pytest

from serving.errors import ConfigError
from serving.settings import read_config

FULL = """
[database]
url = "sqlite:///data/centre.db"
[retention]
every = 30
[[retention.rule]]
kind = "prognosis"
class = "pump"
days = 10
thin = 600
thin_days = 100
[broker]
url = "mqtts://broker.example:8883"
tls = { ca = "ca.pem", certificate = "hub.pem", key = "hub.key" }
[hub]
name = "hub-1"
site = "north"
[registry]
adopt = true
[log]
level = "debug"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "centre.toml"
    path.write_text(text)
    return path


def test_all_of_it(tmp_path):
    config = read_config(written(tmp_path, FULL))
    assert config.database.target().database == str(tmp_path / "data/centre.db")
    [rule] = config.retention.rule
    assert (rule.class_, rule.thin) == ("pump", 600)
    assert config.broker.tls.ca == tmp_path / "ca.pem"
    assert config.broker.session_expiry == 0
    assert (config.hub.name, config.hub.site, config.hub.group) == ("hub-1", "north", "hub")
    assert config.registry.adopt
    assert config.log.level == "debug"


def test_next_to_nothing(tmp_path):
    config = read_config(written(tmp_path, ""))
    assert config.broker is None
    assert not config.registry.adopt
    assert config.database.target().database == str(tmp_path / "centre.db")


def test_all_problems_at_once(tmp_path):
    text = FULL.replace("[hub]", "[hub]\nmesages = 5") + "[registri]\n"
    text = text.replace("mqtts://broker.example", "mqtt://broker.example").replace("days = 10\n", "days = 200\n")
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text))
    told = str(caught.value)
    for part in ("4 problems", "registri is no section", "hub.mesages is no key", "not encrypted", "thin_days"):
        assert part in told, told


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read .* name an existing centre\.toml"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_config(written(tmp_path, "[hub"))


def test_values_that_make_no_sense(tmp_path):
    with pytest.raises(ConfigError, match="site = 'no rth': expected an identifier"):
        read_config(written(tmp_path, FULL.replace('site = "north"', 'site = "no rth"')))
