"""From the headers of a request to its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from edge_runtime.sources.interface import is_loopback
from serving.api.callers import LOCAL, Caller
from serving.api.jwt import Tokens
from serving.api.keys import PREFIX, Keys
from serving.errors import RequestError

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="overhaul"'}


class Auth:
    """`insecure`: nobody is asked for a key, and only this computer is answered."""

    def __init__(self, keys: Keys | None, tokens: Tokens | None, *, insecure: bool = False) -> None:
        self._keys, self._tokens, self.insecure = keys, tokens, insecure

    async def caller(self, headers: Mapping[str, str], client: str, host: str) -> Caller:
        """`client`: the address that calls; `host`: whom it believes to call. `RequestError` says what is wrong."""
        if self.insecure:
            # By the name too: else a page in a browser here could be served by us under its own name. And by where a
            # page comes from: any may send what it likes, though it cannot read the answer.
            page = headers.get("origin")
            ours = page is None or is_loopback(_name(page.partition("://")[2]))
            if not is_loopback(client) or not is_loopback(_name(host)) or not ours:
                raise RequestError("insecure", "this service runs without keys, for this computer only: give it keys")
            return LOCAL
        key = _credential(headers)
        if self._keys is not None and key.startswith(f"{PREFIX}_"):
            found = self._keys.remembered(key)
            if found is None:
                found = await asyncio.get_running_loop().run_in_executor(None, self._keys.look_up, key)
            return found
        if self._tokens is not None and key.count(".") == 2:
            return self._tokens.read(key)
        raise RequestError("wrong_key", "what came as key is neither a key of this service nor a token it takes")


def _credential(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    key = value.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not key:
        raise RequestError("no_key", "who asks? send Authorization: Bearer <key or token>")
    if len(key) > 8192:
        raise RequestError("wrong_key", "the key is longer than any key or token")
    return key


def _name(host: str) -> str:
    """Without the port: "[::1]:3000" → "::1"."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
