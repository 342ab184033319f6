"""The key pair: made once, kept to its owner, told where it belongs."""

import stat
import tomllib

import pytest

from edge_runtime.contract.command import Command, public_key, sign, verify
from serving.commands.__main__ import main
from serving.commands.keys import load_key, make_keys
from serving.errors import ConfigError
from serving.hub.__main__ import main as hub_main
from serving.settings import read_config


def test_a_pair_signs_and_is_recognised(tmp_path, capsys):
    path = tmp_path / "commands.pem"
    assert main(["keys", "make", str(path)]) == 0
    said = capsys.readouterr().out
    lines = [line.strip() for line in said.splitlines()]
    assert 'public_key = "commands.public.pem"' in lines
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    own = tomllib.loads("\n".join(line for line in lines if line.startswith(("enabled", "key"))))
    assert own == {"enabled": True, "key": str(path)}
    command = Command("c-1", "gw-7", "p-1", 0, "speed", 1.0, issued=1, expires=20, ttl=1.0)
    payload = sign(load_key(path), command)
    assert verify(public_key((tmp_path / "commands.public.pem").read_text()), payload, "gw-7", 2) == command


def test_nothing_is_overwritten(tmp_path, capsys):
    path = tmp_path / "commands.pem"
    make_keys(path)
    kept = path.read_bytes()
    assert main(["keys", "make", str(path)]) == 1
    assert "not overwritten" in capsys.readouterr().err
    (tmp_path / "commands.public.pem").unlink()
    with pytest.raises(ConfigError, match="not overwritten"):
        make_keys(path)
    assert path.read_bytes() == kept
    with pytest.raises(ConfigError, match="cannot be written"):
        make_keys(tmp_path / "none" / "commands.pem")


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path, capsys):
    path = tmp_path / "commands.pem"
    public = make_keys(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"mode 640.*chmod 600"):
        load_key(path)
    public.chmod(0o600)
    for wrong, what in ((public, "no unencrypted private key"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(ConfigError, match=what):
            load_key(wrong)
    config = tmp_path / "centre.toml"
    config.write_text(
        '[database]\nurl = "sqlite:///centre.db"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n'
        '[commands]\nenabled = true\nkey = "commands.pem"\n'
    )
    assert read_config(config).commands.key == path
    assert hub_main(["--config", str(config)]) == 1
    assert "chmod 600" in capsys.readouterr().err
    assert not (tmp_path / "centre.db").exists()
