"""What `[[source]] type = "opcua"` may say.

[[source]]
type = "opcua"
name = "line-3"
url = "opc.tcp://plc-3:4840"
certificate = "certs/gateway.der"        # the gateway's own, to be trusted in the server
key = "certs/gateway-key.pem"
server_certificate = "certs/plc-3.der"   # whom the gateway trusts: the server's own, or of the CA that issued it
user = "gateway"
password_file = "secrets/plc-3"
values = [
  { node = "ns=2;s=P-1.flow", asset = "P-1", channel = "flow" },
  { node = "ns=2;s=P-1.speed", asset = "P-1", channel = "speed", sampling = 0.1, writable = true },
]
waveforms = [{ node = "ns=2;s=P-1.vibration", asset = "P-1", channel = "vibration_waveform", axes = 3 }]
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between, Example
from edge_runtime.sources.backoff import MOST
from edge_runtime.sources.interface import is_loopback
from edge_runtime.sources.opcua.library import require_asyncua
from edge_runtime.tls import NO_SECRET

_NODE = re.compile(
    r"(ns=(?P<space>[0-9]{1,5});|nsu=[^;]+;)?"
    r"(i=(?P<number>[0-9]{1,10})|s=.+|b=.+|g=[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})",
    re.DOTALL,
)
Policy = Literal["None", "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]


def _identifier(value: str) -> str | None:
    return None if is_identifier(value) else "an identifier of 1 to 64 letters, digits, '_' or '-'"


def _node(value: str) -> str | None:
    found = _NODE.fullmatch(value)
    if found is not None and int(found["space"] or 0) < 65535 and int(found["number"] or 0) < 1 << 32:
        return None
    return 'a node id like "ns=2;s=P-1.flow", "ns=2;i=1001" or "nsu=urn:plc;s=P-1.flow"'


@dataclass(frozen=True)
class OpcuaValue:
    """One channel of one machine. `sampling` (s), `queue` left out: as the source has it.

    `deadband`: the server reports a value only if it has changed by more than that.
    """

    node: Annotated[str, _node, Example('"ns=2;s=P-1.flow"')]
    asset: Annotated[str, _identifier, Example('"P-1"')]
    channel: Annotated[str, Example('"flow"')]
    sampling: Annotated[float, Between(0, 86400)] | None = None
    queue: Annotated[int, Between(1, 100_000)] | None = None
    deadband: Annotated[float, Between(0)] = 0.0
    writable: bool = False


@dataclass(frozen=True)
class OpcuaWaveform:
    """A node that holds an array: one block of samples of all axes.

    `layout`: "interleaved" is x₀ y₀ z₀ x₁ y₁ …, as an array [samples, axes] is; "axes" is all of x, all of y, ….
    """

    node: Annotated[str, _node, Example('"ns=2;s=P-1.vibration"')]
    asset: Annotated[str, _identifier, Example('"P-1"')]
    channel: Annotated[str, Example('"vibration_waveform"')]
    axes: Annotated[int, Between(1, 64)] = 1
    layout: Literal["interleaved", "axes"] = "interleaved"
    sampling: Annotated[float, Between(0, 86400)] | None = None
    queue: Annotated[int, Between(1, 1000)] = 2


@dataclass(frozen=True)
class OpcuaSettings:
    """Durations in seconds. `sampling` 0: as fast as the server can.

    `refresh`: a value that has not changed for so long is asked for, and counts again at the server's time: servers
    tell changes only, and a channel that nobody hears of is one that is missing. 0: never.
    """

    INSTEAD: ClassVar[dict[str, str]] = {"password": NO_SECRET}

    name: Annotated[str, Example('"line-3"')]
    url: Annotated[str, Example('"opc.tcp://plc-3:4840"')]
    values: tuple[OpcuaValue, ...] = ()
    waveforms: tuple[OpcuaWaveform, ...] = ()
    policy: Policy = "Basic256Sha256"
    mode: Literal["SignAndEncrypt", "Sign"] = "SignAndEncrypt"
    certificate: Path | None = None
    key: Path | None = None
    server_certificate: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    publishing: Annotated[float, Between(0.01, 3600)] = 0.5
    sampling: Annotated[float, Between(0, 86400)] = 0.25
    queue: Annotated[int, Between(1, 100_000)] = 10
    refresh: Annotated[float, Between(0, 86400)] = 10.0
    timeout: Annotated[float, Between(0.1, 60)] = 4.0
    retry_most: Annotated[float, Between(0.1, 3600)] = MOST  # longest wait between two attempts to connect
    insecure: bool = False

    def __post_init__(self) -> None:
        require_asyncua()
        if not self.values and not self.waveforms:
            raise ValueError(
                'values is empty: write values = [{ node = "ns=2;s=P-1.flow", asset = "P-1", channel = "flow" }]'
            )
        mapped: tuple[OpcuaValue | OpcuaWaveform, ...] = (*self.values, *self.waveforms)
        (asset, channel), times = Counter((item.asset, item.channel) for item in mapped).most_common(1)[0]
        if times > 1:
            raise ValueError(f"asset '{asset}', channel '{channel}' is mapped {times} times: keep one node")
        self._check_url()
        self._check_security()

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port is not None
        except ValueError:
            good = False
        if not good:
            raise ValueError(f'url = {self.url!r}: expected "opc.tcp://host:port", the port of most servers is 4840')
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds a password: write user and password_file, and keep the url without")

    def _check_security(self) -> None:
        files = {"certificate": self.certificate, "key": self.key, "server_certificate": self.server_certificate}
        if self.policy == "None":
            given = [name for name, file in files.items() if file]
            if given:
                raise ValueError(f'policy = "None" uses no {given[0]}: name a policy, like "Basic256Sha256"')
            if not is_loopback(self.host) and not self.insecure:
                raise ValueError(
                    f'policy = "None" to {self.host}: whoever is in that network can read and forge it; if that is '
                    'known and accepted, write insecure = true, else policy = "Basic256Sha256"'
                )
        elif missing := [name for name, file in files.items() if file is None]:
            raise ValueError(
                f'policy = "{self.policy}" needs certificate, key and server_certificate; {missing[0]} is missing '
                '(policy = "None" needs none, and protects nothing)'
            )
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together: write both, or neither for an anonymous session")
        if self.user and self.policy != "None" and self.mode == "Sign":
            raise ValueError('mode = "Sign" does not encrypt the password: write mode = "SignAndEncrypt"')

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""
