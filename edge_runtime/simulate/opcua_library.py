"""What of asyncua's server a simulator needs; imported when it is used."""

from __future__ import annotations

from typing import Any

from edge_runtime.sources.opcua.library import load_ua


def load_server() -> Any:
    """The class of servers."""
    from asyncua.server.server import Server

    return Server


def load_users() -> Any:
    """A class of user managers that know one user and password."""
    from asyncua.server.user_managers import User, UserManager, UserRole  # type: ignore[attr-defined, unused-ignore]

    class OneUser(UserManager):
        def __init__(self, user: str, password: str) -> None:
            self._user, self._password = user, password

        def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
            del iserver, certificate
            known = username == self._user and password == self._password
            return User(role=UserRole.User) if known else None

    return OneUser


def load_only() -> Any:
    """A class of certificate validators that let one client in."""
    from asyncua.common.utils import ServiceError
    from cryptography import x509

    ua = load_ua()

    class Only:
        def __init__(self, trusted: bytes) -> None:
            is_pem = b"-----BEGIN" in trusted
            self._trusted = (x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate)(trusted)

        async def __call__(self, certificate: Any, application: Any) -> None:
            del application
            if certificate != self._trusted:
                raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    return Only
