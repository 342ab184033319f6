"""`down/request`: the centre asks for a report. It changes nothing beside the machine, so it is not signed.

{"schema": "1.0", "id": "r-17", "what": "state", "assets": ["pump-3"]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.text import SCHEMA, check_schema, dump, load, short
from edge_runtime.decode import decode
from edge_runtime.errors import WireError

WHAT = ("state",)  # a snapshot of twins, now
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True)
class Request:
    """`assets` None: all of them."""

    id: str
    what: str
    assets: tuple[str, ...] | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id {short(repr(self.id))}: expected up to 64 letters, digits, '_', '.', ':' or '-'")
        if self.what not in WHAT:
            raise ValueError(f"what {short(repr(self.what))}: expected one of {', '.join(WHAT)}")
        for asset in self.assets or ():
            check_identifier("asset", asset)

    def pack(self) -> bytes:
        """The payload of `down/request`."""
        return dump(self.__dict__)


def parse_request(payload: bytes, limits: Limits = DEFAULT) -> Request:
    """What a payload of `down/request` asks for. Raises only `WireError`."""
    if len(payload) > limits.json:
        raise WireError("size", f"{len(payload)} bytes of request: at most {limits.json} are read")
    value = load(payload, "a request")
    check_schema(value, "a request")
    try:
        return decode(Request, value, "request")
    except ValueError as error:
        raise WireError("body", str(error)) from None
