"""Whom an OPC UA client trusts, and how it shows who it is.

The policy and mode are those of the settings, never what a server would rather have. The server's certificate must be
in the file of trusted ones, or be issued for this host by one of them; it is asked for in the clear, which is no harm:
a liar who shows the right one lacks its key.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_runtime.sources.opcua.library import OpcuaError, load_client, load_policies, load_properties, load_ua
from edge_runtime.sources.opcua.settings import OpcuaSettings

BAD_USER = ("BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid")


async def open_client(settings: OpcuaSettings, now: int) -> Any:
    """A connected asyncua client with an active session. `now`: UTC nanos, for the validity of certificates."""
    # The source watches by itself.
    client = load_client()(settings.url, timeout=settings.timeout, watchdog_intervall=3600)
    client.name = client.description = "Overhaul gateway"
    client.session_timeout = 60_000
    if settings.policy != "None":
        await _secure(client, settings, now)
    if settings.user is not None and settings.password_file is not None:
        client.set_user(settings.user)
        client.set_password(_read(settings.password_file, "password_file").decode().rstrip("\r\n"))
    await client.connect()
    return client


async def _secure(client: Any, settings: OpcuaSettings, now: int) -> None:
    ua, security_policies, properties = load_ua(), load_policies(), load_properties()
    own, key = _read(settings.certificate, "certificate"), _read(settings.key, "key")
    trusted = _read(settings.server_certificate, "server_certificate")
    policy = getattr(security_policies, f"SecurityPolicy{settings.policy}")
    mode = getattr(ua.MessageSecurityMode, settings.mode)
    endpoints = await client.connect_and_get_server_endpoints()
    presented = _endpoint(endpoints, policy.URI, mode, settings)
    check_trust(presented, load_certificates(trusted, "server_certificate"), settings, now)
    client.application_uri = _application_uri(load_certificates(own, "certificate")[0], client.application_uri)
    check_key(key, "key")
    await client.set_security(
        policy,
        properties(own, form(own)),
        properties(key, form(key)),
        server_certificate=properties(presented, "der"),
        mode=mode,
    )


def check_trust(presented: bytes, trusted: Sequence[Any], settings: OpcuaSettings, now: int) -> None:
    """`OpcuaError` unless the certificate (DER) is trusted, valid now and, if by a CA, made for this host."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(presented)
    except ValueError as error:
        raise OpcuaError(f"the server's certificate cannot be read ({error})") from error
    when = datetime.datetime.fromtimestamp(now / 1e9, datetime.timezone.utc)
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise OpcuaError(
            f"the server's certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}, and here it is {when:%Y-%m-%d %H:%M} UTC: renew it, or set "
            "the clock"
        )
    if certificate in trusted:
        return
    if not any(_issued(certificate, ca) for ca in trusted):
        raise OpcuaError(
            f"the server's certificate is not trusted: {certificate.subject.rfc4514_string()}, thumbprint (SHA-1) "
            f"{thumbprint(presented)}, is not in {settings.server_certificate}; if the server itself shows this "
            "thumbprint, save its certificate there"
        )
    if not _is_for(certificate, settings.host):
        raise OpcuaError(
            f"the server's certificate was issued for another host than {settings.host}: use the name that stands in "
            f"it in url, or put the certificate itself into {settings.server_certificate}"
        )


def thumbprint(der: bytes) -> str:
    """As OPC UA tools show it, to compare by eye; nothing here decides by it."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()


def load_certificates(content: bytes, key: str) -> list[Any]:
    """All certificates of a file: PEM, one or several, or one as DER."""
    from cryptography import x509

    try:
        if form(content) == "pem":
            return list(x509.load_pem_x509_certificates(content))
        return [x509.load_der_x509_certificate(content)]
    except ValueError as error:
        raise OpcuaError(f"{key}: the file holds no certificate, neither PEM nor DER ({error})") from error


def check_key(content: bytes, key: str) -> None:
    """`OpcuaError` unless it is a private key that the policies of OPC UA can use: RSA."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    try:
        loaded = (load_pem_private_key if form(content) == "pem" else load_der_private_key)(content, None)
    except (ValueError, TypeError) as error:
        raise OpcuaError(f"{key}: the file holds no private key without a password, neither PEM nor DER") from error
    if not isinstance(loaded, RSAPrivateKey):
        raise OpcuaError(
            f"{key}: OPC UA needs an RSA key: make one, and its certificate, by openssl req -newkey rsa:2048"
        )


def explain(error: BaseException, settings: OpcuaSettings) -> str:
    """What went wrong with a connection, and what to do."""
    name = type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: is the server running, and is the port right?"
    if isinstance(error, OpcuaError | ConnectionError):
        return str(error)
    if isinstance(error, TimeoutError) or name == "TimeoutError":  # asyncio's own, before Python 3.11
        return f"no answer within {settings.timeout:g} s"
    if name in BAD_USER:
        who = f"user '{settings.user}'" if settings.user else "anonymous sessions"
        return f"the server refuses {who} ({name}): check user and password_file, and the user's rights in the server"
    if name.startswith("BadCertificate") or name == "BadSecurityChecksFailed":
        return f"the server refuses the gateway's certificate ({name}): trust {settings.certificate} in the server"
    return f"{name}: {error}" if str(error) else name


def _endpoint(endpoints: Sequence[Any], policy: str, mode: Any, settings: OpcuaSettings) -> bytes:
    """The certificate of the endpoint with this policy and mode, without the chain that may follow it."""
    for endpoint in endpoints:
        if endpoint.SecurityPolicyUri == policy and endpoint.SecurityMode == mode and endpoint.ServerCertificate:
            der = bytes(endpoint.ServerCertificate)
            return der[: 4 + int.from_bytes(der[2:4], "big")]
    offered = {f"{str(e.SecurityPolicyUri).rpartition('#')[2]} {e.SecurityMode.name.rstrip('_')}" for e in endpoints}
    raise OpcuaError(
        f"the server does not offer {settings.policy} {settings.mode}: it has {', '.join(sorted(offered)) or 'nothing'}"
    )


def _issued(certificate: Any, ca: Any) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        if not ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca or ca == certificate:
            return False
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return True


def _is_for(certificate: Any, host: str) -> bool:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        return host.lower() in (name.lower() for name in names.get_values_for_type(x509.DNSName))


def _application_uri(certificate: Any, default: str) -> str:
    """Servers refuse a client whose application URI is not the one in its certificate."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return default
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(uris[0]) if uris and urlsplit(uris[0]).scheme else default


def form(content: bytes) -> str:
    return "pem" if b"-----BEGIN" in content else "der"


def _read(path: Path | None, key: str) -> bytes:
    assert path is not None, key  # the settings see to it
    try:
        return path.read_bytes()
    except OSError as error:
        raise OpcuaError(f"{key}: {path} cannot be read ({error.strerror}): name a file, DER or PEM") from error
