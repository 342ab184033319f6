"""How a broker is reached: the settings that all sources over MQTT have, and what went wrong, in words."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between, Example
from edge_runtime.errors import ConfigError
from edge_runtime.sources.interface import is_loopback
from edge_runtime.tls import NO_SECRET, Tls, read_secret

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """How to reach a broker; durations in seconds.

    `url` mqtt://host:port or mqtts://host:port. The password stands in a file of mode 600 or an environment variable.
    For `session_expiry` the broker keeps what is sent to us with QoS 1 while we are away. `receive_maximum`: messages
    that may be on their way, uncommitted.
    """

    INSTEAD: ClassVar[dict[str, str]] = {"password": NO_SECRET}

    name: Annotated[str, Example('"plant"')]
    url: Annotated[str, Example('"mqtts://broker.example:8883"')]
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    tls: Tls = field(default_factory=Tls)
    insecure: bool = False
    session_expiry: Annotated[int, Between(0, 2**32 - 1)] = 604_800
    keepalive: Annotated[int, Between(5, 65_535)] = 30
    receive_maximum: Annotated[int, Between(1, 65_535)] = 2000

    def __post_init__(self) -> None:
        if not is_identifier(self.name):
            raise ValueError(f"name = {self.name!r}: expected 1 to 64 letters, digits, '_' or '-'")
        scheme, host, _ = self.address
        if not self.encrypted and not is_loopback(host) and not self.insecure:
            raise ValueError(
                f"url = {self.url!r} is not encrypted: others can read and forge what goes over the network. "
                f"Use mqtts://, or accept it with insecure = true"
            )
        if self.tls != Tls() and scheme != "mqtts":
            raise ValueError(f"tls is given, but url = {self.url!r} does not use it: write mqtts://")
        if self.password_file and self.password_env:
            raise ValueError("password_file and password_env are both given: keep one")
        if (self.password_file or self.password_env) and not self.username:
            raise ValueError('a password needs a user: write username = "…"')

    @property
    def address(self) -> tuple[str, str, int]:
        """Scheme, host, port."""
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise ValueError(
                f"url = {self.url!r}: {error}: expected mqtt://host:port or mqtts://host:port, the port from 1 to 65535"
            ) from error
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"url = {self.url!r}: expected mqtt://host:port or mqtts://host:port")
        if parts.username or parts.password:
            raise ValueError("url holds a user or password: use username and password_file, the file is read by many")
        return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]

    @property
    def encrypted(self) -> bool:
        return self.address[0] == "mqtts"

    @property
    def weakness(self) -> str | None:
        """Why others may read or forge what comes, if they may."""
        _, host, _ = self.address
        return None if self.encrypted or is_loopback(host) else f"{self.url} is not encrypted"

    def password(self) -> str | None:
        """`ConfigError` if it cannot be read."""
        if self.password_file:
            return read_secret(self.password_file)
        if self.password_env:
            word = os.environ.get(self.password_env)
            if not word:
                raise ConfigError(
                    f"environment variable {self.password_env} is not set: it holds the broker's password"
                )
            return word
        return None


def explain(error: BaseException, settings: BrokerSettings) -> str:
    """Why `settings` lead to no connection, and what to do about it."""
    _, host, port = settings.address
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {host}:{port}: check the url, and whether the broker runs"
    if isinstance(error, socket.gaierror):
        return f"the name {host} is not known: check the url and the DNS ({error.strerror})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is refused: {error.verify_message}: check tls.ca and the host in the url"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {host}:{port} failed: {error.reason or error}: both sides must speak TLS 1.3"
    if isinstance(error, TimeoutError):
        return f"{host}:{port} does not answer in time: check the network, the firewall, and that it is an MQTT broker"
    if isinstance(error, OSError):
        return f"{host}:{port}: {error.strerror or error}"
    return str(error)


def refusal(reason: str, settings: BrokerSettings) -> str:
    """What the broker said to our CONNECT, and what to do about it."""
    if reason in ("Bad user name or password", "Not authorized"):
        who = f"user '{settings.username}'" if settings.username else "no user is named"
        return f"the broker refuses us: {reason} ({who}): check username, password_file, or the certificate in tls"
    if reason == "Unsupported protocol version":
        return "the broker refuses us: it does not speak MQTT 5; mosquitto does from 1.6 on"
    return f"the broker refuses us: {reason}"


def no_answer(settings: BrokerSettings, ended: BaseException | None = None) -> str:
    """The broker accepted the connection and closed it again: the standard lets it say nothing about why.

    `ended`: how, as far as the socket knows.
    """
    _, host, port = settings.address
    told = f"{host}:{port} closed the connection without an answer"
    rest = "username and password_file, and that it is a broker that speaks MQTT 5"
    if isinstance(ended, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (ended.reason or str(ended)):
        return f"{host}:{port} wants to see a certificate: name certificate and key in tls"
    if isinstance(ended, ssl.SSLError):
        return f"{told}: TLS says {ended.reason or ended}: check certificate and key in tls"
    if not settings.encrypted:
        return f"{told}: perhaps this port wants TLS: then write mqtts:// (mostly port 8883); else check {rest}"
    if settings.tls.certificate is None:
        return f"{told}: perhaps it wants to see a certificate: then name certificate and key in tls; else check {rest}"
    return f"{told}: check the certificate in tls, {rest}"


def no_tls(settings: BrokerSettings, error: BaseException) -> str:
    """The connection ended in the middle of the handshake."""
    _, host, port = settings.address
    why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return (
        f"{host}:{port} broke off while TLS was begun ({why}): perhaps this port speaks plain MQTT: check the port, "
        "TLS is mostly on 8883; or TLS older than 1.3"
    )
