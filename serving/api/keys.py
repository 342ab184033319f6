"""API keys: made once, shown once, kept as a hash. `python -m serving.api.keys create --role read --plant north …`"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import re
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from edge_runtime.contract.names import is_identifier
from serving.api.callers import ALL, ROLES, Caller
from serving.database.engine import Database, away
from serving.database.schema import check
from serving.database.tables import api_keys
from serving.errors import AwayError, InvalidError, RequestError, ServingError, UnknownError
from serving.registry.audit import Act, record
from serving.settings import read_config

PREFIX = "ovh"
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")
_REMEMBERED = 10.0  # seconds until a key that was revoked is refused by every worker
_MOST = 10_000
_LONGEST = 36_500  # days that a key may be valid


def create_key(
    connection: Connection, act: Act, name: str, roles: Sequence[str], plants: Sequence[str], expires: int | None = None
) -> str:
    """The key, to be shown once. `expires`: UTC nanos."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise InvalidError(f"--role {', '.join(unknown) or 'is missing'}: expected some of {', '.join(ROLES)}")
    wrong = [plant for plant in plants if plant != ALL and not is_identifier(plant)]
    if wrong or not plants:
        said = f"'{wrong[0][:60]}'" if wrong else "is missing"
        raise InvalidError(f"--plant {said}: name the plants it may see, as --plant north, or all by --plant '*'")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {"id": key_id, "sha256": _hash(secret), "name": name, "roles": sorted(roles), "plants": sorted(plants)}
    connection.execute(insert(api_keys).values(**row, at=act.at, by=act.by, expires=expires))
    record(connection, act, "key.create", f"key/{key_id}", name=name, roles=sorted(roles), plants=sorted(plants))
    return f"{PREFIX}_{key_id}_{secret}"


def revoke_key(connection: Connection, act: Act, key_id: str) -> None:
    """No worker takes it any more ten seconds from now; `UnknownError` if there is none, or it was revoked before."""
    now = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None)).values(revoked=act.at)
    name = connection.execute(now.returning(api_keys.c.name)).scalar()
    if name is None:
        raise UnknownError(f"there is no key '{key_id[:40]}' that is valid: list them", "key")
    record(connection, act, "key.revoke", f"key/{key_id}", name=name)


class Keys:
    """Looks keys up in the database, and remembers for some seconds what it found; for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[str, tuple[float, Caller, int | None]] = {}
        self._lock = threading.Lock()

    def remembered(self, key: str) -> Caller | None:
        """Without looking: None if that is needed."""
        found = self._found.get(_hash(key))
        if found is None or time.monotonic() - found[0] > _REMEMBERED or _over(found[2]):
            return None
        return found[1]

    def look_up(self, key: str) -> Caller:
        """`RequestError` if the key is none of ours, has expired or was revoked.

        `AwayError` without the database, unless the key was found before.
        """
        match = _KEY.fullmatch(key)
        if match is None:
            raise _wrong("no key of this service")
        try:
            with away(), self._database.read() as connection:
                row = connection.execute(select(api_keys).where(api_keys.c.id == match[1])).first()
        except AwayError:
            if (caller := self._known(key)) is None:
                raise
            return caller
        if row is None or not hmac.compare_digest(row.sha256, _hash(match[2])):
            raise _wrong("not valid here")
        if row.revoked is not None:
            with self._lock:
                self._found.pop(_hash(key), None)
            raise _wrong("revoked")
        if _over(row.expires):
            raise _wrong("expired")
        caller = Caller(f"key/{row.id}", frozenset(row.roles), frozenset(row.plants))
        with self._lock:
            if len(self._found) >= _MOST:
                self._found.clear()
            self._found[_hash(key)] = (time.monotonic(), caller, row.expires)
        return caller

    def _known(self, key: str) -> Caller | None:
        """While the database is away: whose the key was when it was there. Nothing that is stored can be had by it."""
        with self._lock:
            found = self._found.get(_hash(key))
            if found is not None:  # the next look is as far off as after one that found it
                self._found[_hash(key)] = (time.monotonic(), *found[1:])
        return None if found is None or _over(found[2]) else found[1]


def _over(expires: int | None) -> bool:
    return expires is not None and expires <= time.time_ns()


def _wrong(why: str) -> RequestError:
    return RequestError("wrong_key", f"the key is {why}: ask for a new one (python -m serving.api.keys create)")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.api.keys", description="API keys of the service.")
    parser.add_argument("action", choices=("create", "list", "revoke"))
    parser.add_argument("--config", type=Path, required=True, help="centre.toml")
    parser.add_argument("--name", default="", help="what the key is for")
    parser.add_argument("--role", action="append", default=[], choices=ROLES)
    parser.add_argument("--plant", action="append", default=[], help="'*' for all")
    parser.add_argument("--days", type=_days, help="until it expires; without: never")
    parser.add_argument("--id", default="", help="of the key to revoke")
    parser.add_argument("--by", default="command line")
    options = parser.parse_args(arguments)
    try:
        database = Database(read_config(options.config).database)
        try:
            check(database)
            _run(options, database)
        finally:
            database.close()
    except (ServingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= _LONGEST:  # false for NaN
        raise argparse.ArgumentTypeError(f"{text}: expected more than 0, at most {_LONGEST}; without, it never expires")
    return days


def _run(options: argparse.Namespace, database: Database) -> None:
    act = Act(options.by, time.time_ns())
    if options.action == "list":
        with away(), database.read() as connection:
            for row in connection.execute(select(api_keys).order_by(api_keys.c.at)):
                state = "revoked" if row.revoked else "expired" if _over(row.expires) else "valid"
                print(f"{row.id}  {state}  {','.join(row.roles)}  {','.join(row.plants)}  {row.name}")
        return
    with away(), database.write() as connection:
        if options.action == "revoke":
            revoke_key(connection, act, options.id)
            return
        expires = None if options.days is None else act.at + int(options.days * 86_400e9)
        print(create_key(connection, act, options.name, options.role, options.plant, expires))


if __name__ == "__main__":
    sys.exit(main())
