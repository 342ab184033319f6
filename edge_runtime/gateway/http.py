"""Health, metrics and status of a running gateway on a local port. Read-only, bounded, closed to others by default.

    /healthz   200 while the engine's loop goes round, else 503: for whoever restarts what hangs
    /readyz    200 once bundles are loaded and while the journal can be written, else 503
    /metrics   for Prometheus
    /status    everything, as JSON

At most MOST connections at once, each over within DEADLINE seconds however slowly it is read or written. Without a
token only a Host header that names this computer is answered: no page in a browser can read it under its own name.
"""

from __future__ import annotations

import functools
import hmac
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.gateway.config import HttpSettings
from edge_runtime.gateway.metrics import exposition, registry
from edge_runtime.gateway.status import GatewayStatus
from edge_runtime.sources.interface import is_loopback
from edge_runtime.tls import read_secret

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

MOST = 8
DEADLINE = 10.0
_JSON = "application/json"
_log = logging.getLogger(__name__)


class StatusServer:
    """Answers with what `status` returns; `start` binds and returns, `stop` ends it. `insecure`: why, if it is."""

    def __init__(self, settings: HttpSettings, status: Callable[[], GatewayStatus]) -> None:
        self._settings, self._status = settings, status
        self._token = read_token(settings.token_file) if settings.token_file else None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.insecure = None if is_loopback(settings.host) else "the http port is open to others without TLS"

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start`."""
        return int(self._server.server_address[1]) if self._server else 0

    def start(self) -> None:
        """`EdgeError` if the address cannot be listened on."""
        host, port = self._settings.host, self._settings.port
        try:
            self._server = _Server((host, port), Answers(self._settings, self._token, self._status))
        except (OSError, OverflowError) as error:
            raise EdgeError(
                f"http: cannot listen on {host}:{port} ({error}): another gateway may run; stop it, or set another "
                "[http] port, or enabled = false"
            ) from error
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, kwargs={"poll_interval": 0.2}, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None


def read_token(path: Path) -> str:
    """The secret in a file that only its owner may read; `ConfigError` if it is none."""
    token = read_secret(path)
    if len(token) < 16 or not token.isascii():
        raise ConfigError(f"http.token_file: {path} holds {len(token)} characters: write 16 or more random ASCII ones")
    return token


class Answers:
    """What to say to whom; knows nothing of sockets."""

    def __init__(self, settings: HttpSettings, token: str | None, status: Callable[[], GatewayStatus]) -> None:
        self._settings, self._token, self._status = settings, token, status
        self._pages: dict[str, Callable[[str], tuple[int, str, bytes]]] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/status": self._whole_status,
        }

    def answer(self, path: str, host: str, authorization: str, accept: str) -> tuple[int, str, bytes]:
        """HTTP status, content type and body."""
        if self._token is not None:
            given = authorization.encode("utf-8", "replace")
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                return _told(401, "send the header 'Authorization: Bearer …' with the text of [http] token_file")
        elif host and not is_loopback(_without_port(host)):
            return _told(421, "this port answers only to the names of this computer: ask http://127.0.0.1")
        page = self._pages.get(path.partition("?")[0])
        if page is None:
            return _told(404, f"there are {', '.join(self._pages)}")
        try:
            return page(accept)
        except EdgeError as error:
            return _told(501, str(error))
        except Exception:  # whatever a part's status raises must neither end the server nor go unheard
            _log.exception("http: %s failed", path)
            return _told(500, "the gateway's log says why")

    def _health(self, _: str) -> tuple[int, str, bytes]:
        moved = self._status().engine.moved
        healthy = moved <= self._settings.stalled_after
        return _told(200 if healthy else 503, "ok" if healthy else f"the engine has not moved for {moved:.0f} s")

    def _ready(self, _: str) -> tuple[int, str, bytes]:
        status = self._status()
        if not status.bundles:
            return _told(503, "no bundle is loaded yet")
        if status.journal.problem is not None:
            return _told(503, f"the journal cannot be written: {status.journal.problem}")
        return _told(200, "ok")

    def _metrics(self, accept: str) -> tuple[int, str, bytes]:
        text, content_type = exposition(self._registry, accept)
        return 200, content_type, text

    @functools.cached_property
    def _registry(self) -> CollectorRegistry:
        return registry(self._status)

    def _whole_status(self, _: str) -> tuple[int, str, bytes]:
        return 200, _JSON, self._status().json().encode()


def _told(code: int, text: str) -> tuple[int, str, bytes]:
    return code, _JSON, json.dumps({"status": text}, ensure_ascii=False).encode() + b"\n"


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        self.answers = answers
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._open: dict[Any, float] = {}  # connection → when it has to be over
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the name server who we are, which may take long

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= MOST
            if not full:
                self._open[request] = time.monotonic() + DEADLINE
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def service_actions(self) -> None:
        """Between requests: end what takes too long."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, end in self._open.items() if end < now]
        for request in late:
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed in the meantime
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _log.debug("http: connection of %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "overhaul-edge"
    sys_version = ""
    timeout = 5.0

    def do_GET(self) -> None:
        heads = [self.headers.get(name, "") for name in ("Host", "Authorization", "Accept")]
        code, content_type, body = self.server.answers.answer(self.path, *heads)
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if code == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, format: str, *arguments: Any) -> None:
        _log.debug("http: " + format, *arguments)
