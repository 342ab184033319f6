"""Ask a running gateway on this computer for its status."""

from __future__ import annotations

import urllib.error
import urllib.request

from edge_runtime.errors import EdgeError
from edge_runtime.gateway.config import HttpSettings
from edge_runtime.gateway.http import read_token
from edge_runtime.gateway.status import GatewayStatus, read_status

TIMEOUT = 5.0
LARGEST = 16 << 20


def ask(settings: HttpSettings) -> GatewayStatus:
    """What it says at `settings`; `EdgeError` if nothing, or no gateway, answers there."""
    return read_status(_get(settings, "/status"))


def ask_health(settings: HttpSettings) -> None:
    """`EdgeError` if it is not healthy: its engine does not move, or nothing answers."""
    _get(settings, "/healthz")


def _get(settings: HttpSettings, path: str) -> bytes:
    if not settings.enabled:
        raise EdgeError("status: [http] enabled = false: the gateway tells nothing; set it to true and restart it")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}{path}"
    request = urllib.request.Request(url)
    if settings.token_file is not None:
        request.add_header("Authorization", f"Bearer {read_token(settings.token_file)}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # what http_proxy names is not this computer
    try:
        with direct.open(request, timeout=TIMEOUT) as response:
            return bytes(response.read(LARGEST))
    except urllib.error.HTTPError as error:
        with error:
            raise EdgeError(
                f"status: {url} answers {error.code}: {error.read(300).decode(errors='replace')}"
            ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise EdgeError(
            f"status: nothing answers at {url} ({reason}). Start the gateway: overhaul-edge run gateway.toml, or "
            "systemctl start overhaul-edge. If its [http] is not the default: overhaul-edge status gateway.toml"
        ) from error
