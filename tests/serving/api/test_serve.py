"""The service as BentoML builds and serves it, in processes of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from serving.api.keys import create_key
from serving.database.engine import Database
from serving.database.settings import DatabaseSettings
from serving.registry.audit import Act
from serving.registry.owners import register
from tests.edge_runtime.tiny import tiny_bundle
from tests.serving.service import seen

ROOT = Path(__file__).parents[3]
CENTRE = """
[database]
url = "sqlite:///centre.db"
[service]
max_ahead = 60
[service.models]
folders = ["*/bundle"]
every = 0.2
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port, path, body=None, key=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", None if body is None else json.dumps(body).encode()
    )
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def centre(sqlite_template, tmp_path):
    """Its folder and a key."""
    tiny_bundle(tmp_path / "tiny/bundle")
    (tmp_path / "centre.db").write_bytes(Path(sqlite_template).read_bytes())
    (tmp_path / "centre.toml").write_text(CENTRE)
    database = Database(DatabaseSettings(url="sqlite:///centre.db", folder=tmp_path))
    with database.write() as connection:
        register(connection, Act("ann", 1), "p1", "tiny")
        key = create_key(connection, Act("ann", 1), "test", ["read", "observe"], ["*"])
    database.close()
    return tmp_path, key


def test_build_serve_answer_swap_and_stop(centre):
    """A Bento is built without a network, and runs where there is nothing of the repository."""
    folder, key = centre
    port = free_port()
    environment = {**os.environ, "OVERHAUL_CENTRE": str(folder / "centre.toml"), "BENTOML_HOME": str(folder / "home")}
    environment |= {"BENTOML_DO_NOT_TRACK": "True", "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    nothing = {**environment, "OVERHAUL_CENTRE": str(folder / "nowhere.toml")}  # a build asks for no settings
    subprocess.run([bentoml, "build", "--output", "tag"], cwd=ROOT, env=nothing, check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        command = [bentoml, "serve", "overhaul:latest", "-p", str(port)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _until(lambda: ask(port, "/readyz")[0] == 200, folder)
        body = {"fleet": "tiny", "asset": "p1", "continue": True, "observations": seen(0)}
        assert ask(port, "/predict", body)[0] == 401
        status, answer = ask(port, "/predict", body, key)
        assert (status, json.loads(answer)["stored"]) == (200, True)
        before = json.loads(answer)["model"]["model_id"]
        tiny_bundle(folder / "tiny/bundle", title="another")
        _until(lambda: json.loads(ask(port, "/models", key=key)[1])["models"][0]["model_id"] != before, folder)
        status, answer = ask(port, "/predict", {**body, "observations": seen(60)}, key)
        assert (status, json.loads(answer)["prognoses"][0]["number"]) == (200, 2)
        assert b"overhaul_requests_total" in ask(port, "/metrics")[1]
        described = json.loads(ask(port, "/docs.json")[1])
        assert "/predict" in described["paths"]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


def test_wrong_settings_end_it_with_what_is_wrong(tmp_path):
    (tmp_path / "centre.toml").write_text("[servce]\ninsecure = true\n")
    environment = {**os.environ, "OVERHAUL_CENTRE": str(tmp_path / "centre.toml"), "BENTOML_HOME": str(tmp_path)}
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "serving.service:Overhaul"]
    done = subprocess.run(
        [*command, "-p", str(free_port())], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().endswith("servce is no section: did you mean 'service'?")


def _until(done, folder):
    deadline = time.monotonic() + 60
    while True:
        try:
            if done():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
        time.sleep(0.1)
