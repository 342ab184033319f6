import http.client
import json
import logging
import socket
import threading
import time
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.cli import main
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.gateway import http as status_http
from edge_runtime.gateway.config import HttpSettings
from edge_runtime.gateway.http import MOST, Answers, StatusServer, read_token
from edge_runtime.gateway.status import EngineStatus, JournalStatus
from tests.edge_runtime.gateway.statuses import empty_status, full_status

TOKEN = "0123456789abcdef-secret"


class Gateway:
    """A server whose status can be changed while it runs."""

    def __init__(self, **settings):
        self.status = full_status()
        self.server = StatusServer(HttpSettings(**{"port": 0} | settings), lambda: self.status)
        self.server.start()

    def get(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


@pytest.fixture
def gateway():
    made = Gateway()
    yield made
    made.server.stop()


def test_the_pages(gateway):
    assert gateway.get("/healthz")[0] == 200
    assert gateway.get("/readyz")[0] == 200
    code, headers, body = gateway.get("/status")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["gateway"] == "gw-7"
    code, headers, body = gateway.get("/metrics?name=x")
    assert code == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert b'overhaul_edge_observations_total{class="pump"} 90311.0' in body
    assert gateway.get("/elsewhere")[0] == 404


def test_it_tells_little_of_itself(gateway):
    _, headers, _ = gateway.get("/healthz")
    assert headers["Server"].strip() == "overhaul-edge"


def test_nothing_can_be_changed(gateway):
    for method in ("POST", "PUT", "DELETE"):
        assert gateway.get("/status", method)[0] == 501
    code, headers, body = gateway.get("/status", "HEAD")
    assert (code, body) == (200, b"")
    assert int(headers["Content-Length"]) > 100


def test_who_asks_for_health_is_told_of_an_engine_that_hangs(gateway, tmp_path, monkeypatch, capsys):
    """As the container's HEALTHCHECK does."""
    settings = HttpSettings(port=gateway.server.port)
    monkeypatch.setattr("edge_runtime.gateway.config.read_config", lambda _: SimpleNamespace(http=settings))
    command = ["status", "--health", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out == ""
    gateway.status = full_status(engine=EngineStatus(moved=31.0))
    assert main(command) == 1
    assert "answers 503" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 0


def test_an_engine_that_hangs_is_unhealthy(gateway):
    gateway.status = full_status(engine=EngineStatus(moved=31.0))
    code, _, body = gateway.get("/healthz")
    assert code == 503
    assert b"has not moved for 31 s" in body


def test_not_ready_without_bundles_or_journal(gateway):
    gateway.status = empty_status()
    assert gateway.get("/readyz")[0] == 503
    gateway.status = full_status(journal=JournalStatus("no space left"))
    code, _, body = gateway.get("/readyz")
    assert code == 503
    assert b"no space left" in body
    assert gateway.get("/healthz")[0] == 200


def test_a_part_that_raises_does_not_end_the_server(gateway, caplog):
    gateway.status = None
    with caplog.at_level(logging.ERROR):
        assert gateway.get("/status")[0] == 500
    assert "/status failed" in caplog.text
    gateway.status = full_status()
    assert gateway.get("/status")[0] == 200


def test_a_page_under_a_foreign_name_reads_nothing(gateway):
    for host in ("evil.example:9464", "127.evil.example", "localhost.evil.example", "evil.example:[::1]"):
        assert gateway.get("/status", Host=host)[0] == 421
    for host in ("localhost:1", "127.0.0.1", "[::1]:9464"):
        assert gateway.get("/status", Host=host)[0] == 200


def test_only_this_computer_is_listened_to(gateway):
    mine = psutil.Process().net_connections(kind="inet")
    listening = {c.laddr.ip for c in mine if c.status == psutil.CONN_LISTEN and c.laddr.port == gateway.server.port}
    assert listening == {"127.0.0.1"}


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "http.token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def test_others_need_the_token(token_file):
    made = Gateway(host="0.0.0.0", token_file=token_file)
    try:
        assert made.server.insecure
        assert made.get("/status")[0] == 401
        assert made.get("/healthz", Authorization="Bearer wrong")[0] == 401
        assert made.get("/status", Authorization=f"Bearer {TOKEN}", Host="gateway.example")[0] == 200
    finally:
        made.server.stop()


def test_a_host_that_others_reach_needs_a_token_file():
    with pytest.raises(ValueError, match="token_file"):
        HttpSettings(host="0.0.0.0")
    assert HttpSettings(host="0.0.0.0", enabled=False).port == 9464


def test_the_token_is_a_secret(token_file, tmp_path):
    assert read_token(token_file) == TOKEN
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(token_file)
    short = tmp_path / "short"
    short.write_text("abc")
    short.chmod(0o600)
    with pytest.raises(ConfigError, match="16 or more"):
        read_token(short)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "nowhere")


def test_a_port_that_is_taken_is_named(gateway):
    with pytest.raises(EdgeError, match=f"127.0.0.1:{gateway.server.port}.*another gateway"):
        StatusServer(HttpSettings(port=gateway.server.port), full_status).start()


def test_stopped_it_can_be_started_again(gateway):
    gateway.server.stop()
    gateway.server.stop()
    gateway.server.start()
    assert gateway.get("/healthz")[0] == 200


def test_the_slow_are_cut_off_and_too_many_turned_away(gateway, monkeypatch):
    monkeypatch.setattr(status_http, "DEADLINE", 0.5)
    address = ("127.0.0.1", gateway.server.port)
    slow = [socket.create_connection(address, timeout=20) for _ in range(MOST)]
    for connection in slow:
        connection.sendall(b"GET /status HTTP/1.1\r\nX: ")  # and nothing more
    until = time.monotonic() + 20
    while len(gateway.server._server._open) < MOST and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises((OSError, http.client.HTTPException)):
        gateway.get("/healthz")
    for connection in slow:
        assert connection.recv(100) == b""  # the server hangs up
        connection.close()
    while gateway.server._server._open and time.monotonic() < until:
        time.sleep(0.01)
    assert gateway.get("/healthz")[0] == 200


def test_many_ask_at_once(gateway):
    codes = []
    askers = [threading.Thread(target=lambda: codes.append(gateway.get("/metrics")[0])) for _ in range(MOST // 2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert codes == [200] * (MOST // 2)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_asked_is_answered(path, host, authorization, accept):
    for token in (None, TOKEN):
        code, _, body = Answers(HttpSettings(), token, full_status).answer(path, host, authorization, accept)
        assert code in (200, 401, 404, 421)
        assert body


@pytest.fixture(scope="module")
def steady():
    made = Gateway()
    yield made
    made.server.stop()


@given(st.binary(max_size=200))
def test_random_bytes_do_not_end_it(steady, noise):
    with socket.create_connection(("127.0.0.1", steady.server.port), timeout=10) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert steady.get("/healthz")[0] == 200
