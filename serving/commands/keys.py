"""The key pair that commands are signed with: made once; the hub has the private key, gateways pin the public one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serving.errors import ConfigError

_HOW = "make one with python -m serving.commands keys make FILE"


def make_keys(path: Path) -> Path:
    """A new private key at `path`, mode 600; the file with its public key. `ConfigError` if one of them exists."""
    public = path.with_suffix(".public.pem")
    key = Ed25519PrivateKey.generate()
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    told = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public.exists():
        raise ConfigError(f"{public} exists: a key is not overwritten; name another file, or move that one away")
    _write(path, own, 0o600)
    _write(public, told, 0o644)
    return public


def load_key(path: Path, section: str = "commands") -> Ed25519PrivateKey:
    """`ConfigError` unless it is an Ed25519 key that only its owner can read."""
    try:
        mode, data = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise ConfigError(f"[{section}] key {path} cannot be read ({error.strerror}): {_HOW}") from error
    if mode & 0o077:
        raise ConfigError(
            f"[{section}] key {path} has mode {mode:o}, so others could sign commands, too: chmod 600 {path}"
        )
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except Exception as error:  # cryptography raises its own for what it does not support
        raise ConfigError(f"[{section}] key {path} is no unencrypted private key in PEM ({error}): {_HOW}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"[{section}] key {path} is of another kind than Ed25519: {_HOW}")
    return key


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists: a key is not overwritten; name another file, or move that one away"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}): name a file in a folder of yours") from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
