"""What the centre signs: one JSON object, Ed25519 in base64 over a context and the canonical JSON of all other fields.

The context says what the signature is for, so that one key may serve several kinds of message and none passes for
another. Fields that a reader does not know are signed, too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.contract.text import dump, load
from edge_runtime.errors import EdgeError, WireError
from edge_runtime.manifest import canonical_json


class PrivateKey(Protocol):
    """An `Ed25519PrivateKey` of cryptography, or whatever asks a safer place to sign."""

    def sign(self, data: bytes, /) -> bytes: ...


class PublicKey(Protocol):
    """An `Ed25519PublicKey` of cryptography; raises its `InvalidSignature`."""

    def verify(self, signature: bytes, data: bytes, /) -> None: ...


def sign_fields(key: PrivateKey, context: bytes, fields: Mapping[str, Any]) -> bytes:
    """`fields` and their signature as a payload."""
    value = dict(fields)
    signature = key.sign(context + canonical_json(value))
    return dump({**value, "signature": base64.b64encode(signature).decode()})


def verify_fields(key: PublicKey, context: bytes, payload: bytes, what: str, most: int) -> dict[str, Any]:
    """The fields that the holder of `key` signed for `context`; `what`: as in "a command".

    `WireError`, its reason "malformed" (or more than `most` bytes) or "signature", and nothing else.
    """
    from cryptography.exceptions import InvalidSignature

    if len(payload) > most:
        raise WireError("malformed", f"{len(payload)} bytes are not {what}")
    try:
        value = load(payload, what)
        signature = value.pop("signature", None)
        if not isinstance(signature, str):
            raise ValueError(f"{what} without a signature")
        given = base64.b64decode(signature, validate=True)
        text = context + canonical_json(value)
    except (WireError, ValueError, binascii.Error) as error:
        raise WireError("malformed", str(error)) from None
    except RecursionError:
        raise WireError("malformed", f"{what} that is nested too deep") from None
    try:
        key.verify(given, text)
    except InvalidSignature:
        raise WireError("signature", f"{what} that the pinned key has not signed") from None
    return value


def public_key(text: str) -> PublicKey:
    """The key in `text`, as PEM or its 32 bytes in base64; `EdgeError` when it is none."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise EdgeError(
            "the centre's messages are signed: install overhaul[gateway], which has cryptography"
        ) from error
    try:
        if "-----BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
        else:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a key of another kind")
        return key
    except Exception as error:  # cryptography raises its own for what it does not support
        raise EdgeError(
            f"the centre's public key cannot be read ({error}): give an Ed25519 public key, as PEM or as the "
            "base64 of its 32 bytes"
        ) from error


def read_public_key(path: Path) -> PublicKey:
    """The key in the file `path`; `EdgeError` names the file."""
    try:
        return public_key(path.read_text())
    except OSError as error:
        raise EdgeError(
            f"{path} cannot be read ({error.strerror}): name the file with the centre's Ed25519 public key"
        ) from error
    except (EdgeError, UnicodeDecodeError) as error:
        raise EdgeError(f"{path}: {error}") from error
