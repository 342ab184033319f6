"""Idempotency-Key: the same request under the same key is carried out once, and answered the same again."""

from __future__ import annotations

import hashlib
import re

from sqlalchemy import Connection

from serving.api.call import Call
from serving.database import bulk
from serving.database.tables import idempotency
from serving.errors import ConflictError, RequestError
from serving.twins.record import check_same
from serving.twins.stored import forget, read_remembered

HEADER = {"Idempotency-Key": "the same key and request again: the same answer, and nothing is done twice"}
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


class Once:
    """One request; without a key it is carried out each time. `about`: what it is about, besides its body."""

    def __init__(self, call: Call, about: str) -> None:
        self.key = call.headers.get("idempotency-key")
        self._caller = call.caller.id
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise RequestError("form", "Idempotency-Key: expected 1 to 128 printable characters", "Idempotency-Key")
        self._request = hashlib.sha256(about.encode() + b"\0" + call.body).hexdigest()

    def before(self, connection: Connection, since: int) -> bytes | None:
        """What was answered to it; `RequestError` "key_reused" if the key was used for another request.

        Keys that were used before `since`, UTC nanos, are forgotten.
        """
        if self.key is None:
            return None
        forget(connection, since)
        known = read_remembered(connection, [(self._caller, self.key)]).get((self._caller, self.key))
        return None if known is None else check_same(known, self._request)

    def keep(self, connection: Connection, answer: bytes, at: int) -> None:
        """In the transaction of what was done; `ConflictError`, so nothing is, if the key is being used right now."""
        if self.key is None:
            return
        row = {"caller": self._caller, "key": self.key, "request": self._request, "status": 200, "answer": answer}
        if not bulk.insert(connection, idempotency, {name: [value] for name, value in {**row, "at": at}.items()}):
            raise ConflictError("another request has just used this Idempotency-Key: ask again")
