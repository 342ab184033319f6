"""Where the database is, and what is kept in it for how long."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from edge_runtime.decode import Between, Example
from edge_runtime.errors import ConfigError as EdgeConfigError
from edge_runtime.tls import read_secret
from serving.errors import ConfigError

KINDS = ("observation", "prognosis", "summary", "state", "waveform", "event", "message", "dead_letter")


@dataclass(frozen=True)
class DatabaseSettings:
    """`url` sqlite:///centre.db (relative to the file of settings) or postgresql://user@host:5432/name.

    The password stands in a file of mode 600 or an environment variable. `upgrade`: make or update the tables at start,
    instead of `python -m serving.database upgrade`. Sizes in MiB, durations in seconds.
    """

    url: Annotated[str, Example('"sqlite:///centre.db"')] = "sqlite:///centre.db"
    folder: Path = Path()  # set by whoever reads the file
    password_file: Path | None = None
    password_env: str | None = None
    upgrade: bool = False
    cache: Annotated[int, Between(1, 65_536)] = 256  # of pages, SQLite
    busy: Annotated[float, Between(0.1, 600)] = 10.0  # that a writer waits for another one, SQLite
    statement: Annotated[float, Between(1, 86_400)] = 120.0  # that a statement may take, PostgreSQL
    connect: Annotated[float, Between(1, 600)] = 5.0
    pool: Annotated[int, Between(1, 1000)] = 10

    def __post_init__(self) -> None:
        url = _parse(self.url)
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ValueError(f"url is of {url.get_backend_name()!r}: expected sqlite:///… or postgresql://…")
        if url.password is not None:
            raise ValueError("url holds a password: use password_file or password_env, the file is read by many")
        if self.password_file and self.password_env:
            raise ValueError("password_file and password_env are both given: keep one")
        if self.sqlite and not url.database:
            raise ValueError("url names no file: several processes share the database; write sqlite:///centre.db")

    @property
    def sqlite(self) -> bool:
        return _parse(self.url).get_backend_name() == "sqlite"

    def target(self) -> URL:
        """What to connect to; `ConfigError` if the password cannot be read."""
        url = _parse(self.url)
        if self.sqlite:
            return url.set(drivername="sqlite+pysqlite", database=str(self.folder / (url.database or "")))
        url = url.set(drivername="postgresql+psycopg")
        if self.password_file is not None:
            try:
                return url.set(password=read_secret(self.password_file))
            except EdgeConfigError as error:
                raise ConfigError(str(error)) from error
        if self.password_env is not None:
            password = os.environ.get(self.password_env)
            if not password:
                raise ConfigError(f"environment variable {self.password_env} is not set: it holds the password")
            return url.set(password=password)
        return url


@dataclass(frozen=True)
class Rule:
    """How long rows of `kind` are kept, of one class or, without `class`, of all that have no rule of their own.

    All rows are kept for `days`. With `thin` and `thin_days`, one in so many time units of the class (seconds, or
    cycles) is kept after that, until `thin_days` are over: of prognoses the one with the highest alarm, of these the
    newest; of others the newest.
    """

    kind: Literal["observation", "prognosis", "summary", "state", "waveform", "event", "message", "dead_letter"]
    days: Annotated[float, Between(0.0001, 100_000)]
    class_: str | None = None
    thin: Annotated[float, Between(1, 1e9)] | None = None
    thin_days: Annotated[float, Between(0.0001, 100_000)] | None = None

    def __post_init__(self) -> None:
        if (self.thin is None) != (self.thin_days is None):
            raise ValueError("thin and thin_days belong together: how many are kept, and for how long")
        if self.thin_days is not None and self.thin_days <= self.days:
            raise ValueError(
                f"thin_days = {self.thin_days:g} is not above days = {self.days:g}: nothing would be thinned"
            )
        if self.thin is not None and self.kind not in ("observation", "prognosis", "state"):
            raise ValueError(
                f"{self.kind} is not thinned: leave thin out, or use it for observation, prognosis or state"
            )
        if self.class_ is not None and self.kind in ("event", "message", "dead_letter"):
            raise ValueError(f"{self.kind} is of no class: leave class out")


DEFAULT_RULES = (
    Rule("observation", 730),
    Rule("prognosis", 90, thin=3600, thin_days=3650),
    Rule("summary", 3650),
    Rule("state", 30, thin=86_400, thin_days=730),
    Rule("waveform", 365),
    Rule("event", 730),
    Rule("message", 30),
    Rule("dead_letter", 30),
)


@dataclass(frozen=True)
class RetentionSettings:
    """Seconds between two rounds; `rules` replace the defaults of their kind and class. Alarms are kept for ever.

    `dead_letters`: MiB of them that are kept at most; the oldest go first.
    """

    enabled: bool = True
    every: Annotated[float, Between(0.01, 86_400)] = 60.0
    dead_letters: Annotated[int, Between(1, 1_000_000)] = 256
    rule: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if len({(rule.kind, rule.class_) for rule in self.rule}) < len(self.rule):
            raise ValueError("two rules are of one kind and class: keep one")

    def rules(self) -> tuple[Rule, ...]:
        own = {(rule.kind, rule.class_) for rule in self.rule}
        return self.rule + tuple(rule for rule in DEFAULT_RULES if (rule.kind, None) not in own)


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        file = "" if "//" in url or not url else f"; for the file {url} write sqlite:///{url}"
        raise ValueError(
            f"url = {url!r} is no url: expected sqlite:///centre.db or postgresql://user@host:5432/name{file}"
        ) from error
