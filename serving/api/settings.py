"""Who may use the service, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from edge_runtime.decode import Between, Example
from serving.models.settings import ModelsSettings

Algorithm = Literal["EdDSA", "ES256", "ES384", "RS256", "RS512", "PS256", "HS256", "HS512"]


@dataclass(frozen=True)
class JwtSettings:
    """Tokens of one issuer. `key`: its public key in PEM, or for HS… a secret in a file of mode 600.

    A token names its roles in `roles_claim` and its plants in `plants_claim` (lists; "*" for all plants).
    """

    algorithm: Algorithm
    key: Path
    issuer: Annotated[str, Example('"https://login.example"')]
    audience: str = "overhaul"
    leeway: Annotated[float, Between(0, 300)] = 10.0
    longest: Annotated[float, Between(1, 10_000_000)] = 86_400.0  # that a token may be valid, seconds
    roles_claim: str = "roles"
    plants_claim: str = "plants"


@dataclass(frozen=True)
class LimitSettings:
    """Of one request: bytes as sent and unpacked, levels of nesting, counts. Of one key: requests a second."""

    body: Annotated[int, Between(1024, 1 << 30)] = 8 << 20
    unpacked: Annotated[int, Between(1024, 1 << 30)] = 32 << 20
    depth: Annotated[int, Between(4, 100)] = 12
    observations: Annotated[int, Between(1, 10_000_000)] = 100_000
    machines: Annotated[int, Between(1, 1_000_000)] = 20_000
    rate: Annotated[float, Between(0.001, 1e6)] = 2_000.0
    burst: Annotated[int, Between(1, 1_000_000)] = 4_000
    waiting: Annotated[int, Between(1, 100_000)] = 2_000  # requests, of all keys
    receive: Annotated[float, Between(0.1, 600)] = 20.0  # seconds that a body may take to arrive
    answer: Annotated[float, Between(0.1, 3600)] = 30.0  # seconds until we give up


@dataclass(frozen=True)
class ServiceSettings:
    """The section [service]. `insecure`: no key is asked for, of who connects from this computer; others get nothing.

    Without a database there are neither keys nor stored twins. `max_ahead`: seconds that an observation may be dated in
    the future. `idempotency`: seconds that an Idempotency-Key is remembered.
    """

    insecure: bool = False
    max_ahead: Annotated[float, Between(0, 86_400)] = 60.0
    idempotency: Annotated[float, Between(60, 10_000_000)] = 86_400.0
    gather: Annotated[float, Between(0, 0.1)] = 0.0
    snapshot: Annotated[float, Between(1, 10_000_000)] = 3600.0  # seconds between snapshots of the centre's own twins
    models: ModelsSettings = field(default_factory=ModelsSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    jwt: JwtSettings | None = None
