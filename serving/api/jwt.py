"""JSON Web Tokens of one pinned issuer: algorithm, issuer, audience and a near expiry are all demanded."""

from __future__ import annotations

import hashlib
from typing import Any

import jwt

from edge_runtime.errors import ConfigError as EdgeConfigError
from edge_runtime.tls import read_secret
from serving.api.callers import ROLES, Caller
from serving.api.settings import JwtSettings
from serving.errors import ConfigError, RequestError

_LONGEST = 76  # characters of a subject, with "sub/" before it


class Tokens:
    """`ConfigError` if the key cannot be read. The algorithm is ours, never what a token says of itself."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        try:
            if settings.algorithm.startswith("HS"):
                secret = read_secret(settings.key)
                if len(secret) < 32:
                    raise ConfigError(
                        f"{settings.key}: the secret has {len(secret)} characters: use 32 random ones or more"
                    )
                self._key: Any = secret
            else:
                self._key = settings.key.read_text()
                jwt.get_algorithm_by_name(settings.algorithm).prepare_key(self._key)
        except EdgeConfigError as error:
            raise ConfigError(str(error)) from error
        except (OSError, ValueError, TypeError, jwt.PyJWTError) as error:
            raise ConfigError(f"{settings.key} is no public key in PEM for {settings.algorithm}: {error}") from error

    def read(self, token: str) -> Caller:
        """`RequestError` says which of the demands the token does not meet."""
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[settings.algorithm],
                issuer=settings.issuer,
                audience=settings.audience,
                leeway=settings.leeway,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise RequestError("wrong_key", f"the token is refused ({error}): get a new one") from None
        valid = float(claims["exp"]) - float(claims["iat"])
        if valid > settings.longest:
            raise RequestError(
                "wrong_key",
                f"the token is valid for {valid:g} s: at most {settings.longest:g} s are allowed; get a shorter one",
            )
        roles, plants = (_texts(claims.get(name)) for name in (settings.roles_claim, settings.plants_claim))
        return Caller(f"sub/{_short(claims['sub'])}", roles & frozenset(ROLES), plants)


def _short(subject: str) -> str:
    """As the database has room for it, and never one for two."""
    if len(subject) <= _LONGEST and subject.isprintable():
        return subject
    return f"sha256:{hashlib.sha256(subject.encode(errors='backslashreplace')).hexdigest()}"


def _texts(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        value = value.split()
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
