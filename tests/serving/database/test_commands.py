"""`python -m serving.database` and `python -m serving.hub`, as people call them."""

import pytest

from serving.database.__main__ import main as database
from serving.database.schema import head
from serving.hub.__main__ import main as hub


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "centre.toml"
    path.write_text('[database]\nurl = "sqlite:///centre.db"\n')
    return str(path)


def test_tables_are_made(config, tmp_path, capsys):
    assert database(["check", "--config", config]) == 1
    assert "has no tables: run python -m serving.database upgrade with the same --config" in capsys.readouterr().err
    assert database(["version", "--config", config]) == 0
    assert capsys.readouterr().out == f"tables: none; this program: {head()}\n"
    assert database(["upgrade", "--config", config]) == 0
    assert database(["check", "--url", f"sqlite:///{tmp_path / 'centre.db'}"]) == 0
    assert capsys.readouterr().out.endswith(f"tables: {head()}; this program: {head()}\n")


def test_what_is_wrong_is_told(tmp_path, capsys):
    assert database(["check", "--config", str(tmp_path / "none.toml")]) == 1
    assert database(["check", "--url", "mysql://host/name"]) == 1
    assert database(["check", "--url", f"sqlite:///{tmp_path}/no/centre.db"]) == 1
    assert database(["check", "--url", "centre.db"]) == 1
    told = capsys.readouterr().err
    missing = f"the database {tmp_path}/no/centre.db cannot be made (No such file or directory): make its folder"
    for part in ("name an existing centre.toml", "expected sqlite", missing, "write sqlite:///centre.db"):
        assert part in told


def test_a_hub_without_a_broker(config, capsys):
    assert hub(["--config", config]) == 1
    assert 'the hub needs a broker: write [broker] and below it url = "mqtts://…"' in capsys.readouterr().err


def test_a_hub_without_tables(config, tmp_path, capsys):
    with (tmp_path / "centre.toml").open("a") as file:
        file.write('[broker]\nurl = "mqtt://127.0.0.1:1"\n')
    assert hub(["--config", config, "--name", "hub-2"]) == 1
    assert "has no tables" in capsys.readouterr().err
    assert hub(["--config", config, "--name", "hub 2"]) == 1
