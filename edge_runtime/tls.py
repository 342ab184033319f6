"""TLS as the gateway speaks it: version 1.3, the other side always verified, private keys private."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import ConfigError, EdgeError

NO_SECRET = 'no secret stands in this file: write password_file = "…", a file of mode 600 with it in its first line'


@dataclass(frozen=True)
class Tls:
    """PEM files. `ca` None: the authorities that this computer trusts. `certificate` and `key`: who we are."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            given, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise ValueError(f"{given} is given without {missing}: name both files, or neither")

    def context(self) -> ssl.SSLContext:
        """For a client; `ConfigError` says which file cannot be used and why. Files are read now, not before."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _load_authorities(context, self.ca)
        if self.certificate is not None and self.key is not None:
            check_private(self.key)
            _load_identity(context, self.certificate, self.key)
        return context


def check_private(path: Path) -> None:
    """`ConfigError` unless only the owner of the secret in `path` can read it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}: it holds a secret; make it with mode 600, or name the right file"
        ) from error
    if mode & 0o077:
        raise ConfigError(
            f"{path} is a secret that others can read (mode {mode & 0o777:03o}): run chmod 600 {path}, "
            "and renew what may have been read"
        )


def common_name(path: Path) -> str | None:
    """That of the certificate in the PEM file `path`, None if it has none; `ConfigError` if it cannot be read.

    `EdgeError` without cryptography.
    """
    try:
        from cryptography import x509
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise EdgeError("certificates cannot be read without cryptography: pip install 'overhaul[gateway]'") from error
    try:
        names = x509.load_pem_x509_certificate(path.read_bytes()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except OSError as error:
        raise ConfigError(f"certificate {path} cannot be read: {error.strerror}: name its PEM file") from error
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM: expected -----BEGIN CERTIFICATE-----") from error
    return str(names[0].value) if names else None


def read_secret(path: Path) -> str:
    """The first line of a file of mode 600; `ConfigError` if it cannot be used."""
    check_private(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise ConfigError(f"{path} is empty: write the secret into its first line")
    return lines[0]


def _load_authorities(context: ssl.SSLContext, ca: Path | None) -> None:
    if ca is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigError(f"ca {ca} holds no certificate in PEM: expected -----BEGIN CERTIFICATE-----") from error
    except OSError as error:
        raise ConfigError(
            f"ca {ca} cannot be read: {error.strerror}: name the PEM file of the authority, or leave ca out to trust "
            "those of this computer"
        ) from error


def _load_identity(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        why = "they do not belong together" if "MISMATCH" in str(error) else "expected PEM files, the key unencrypted"
        raise ConfigError(f"certificate {certificate} and key {key} cannot be used: {why} ({error})") from error
    except OSError as error:
        raise ConfigError(
            f"certificate {certificate} or key {key} cannot be read: {error.strerror}: name the PEM files of both"
        ) from error


def _no_password() -> str:
    """Without this, OpenSSL would ask on the terminal and wait for ever."""
    return ""
