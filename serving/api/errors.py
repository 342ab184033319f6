"""Which status each refusal has. The codes are for programs, and stay; the messages are for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from edge_runtime.contract.text import short
from serving.errors import AwayError, ConflictError, InvalidError, RequestError, ServingError, UnknownError

STATUS: Mapping[str, int] = {
    "malformed": 400,  # no JSON, or not the form
    "no_key": 401,
    "wrong_key": 401,
    "role": 403,
    "approver": 403,  # nobody approves a command of their own
    "insecure": 403,
    "unknown_path": 404,
    "unknown_fleet": 404,
    "unknown_version": 404,
    "unknown_asset": 404,
    "unknown_command": 404,
    "unknown_moment": 404,  # before anything that is stored
    "method": 405,
    "slow": 408,
    "conflict": 409,  # somebody else was faster, or the twin has moved on
    "not_newer": 409,
    "term": 409,
    "owner": 409,
    "tier": 409,
    "commands_off": 409,
    "in_progress": 409,
    "not_replayable": 409,  # what the past twin saw is not all stored
    "unknown_model": 409,  # its bundle is not served any more
    "size": 413,
    "encoding": 415,
    "form": 422,
    "unknown_channel": 422,
    "unknown_setting": 422,
    "unit": 422,
    "range": 422,
    "time": 422,
    "future": 422,
    "order": 422,
    "age": 422,
    "class": 422,
    "key_reused": 422,
    "rate": 429,
    "internal": 500,
    "busy": 503,
    "away": 503,
    "not_ready": 503,
    "late": 504,
}


class ErrorBody(BaseModel):
    """`code` for programs, `message` for people, `where` in the request it is."""

    code: str
    message: str
    where: str


class ErrorAnswer(BaseModel):
    error: ErrorBody


def refusal(error: BaseException) -> RequestError:
    """Any exception as what is told of it; of what nobody foresaw nothing but that it happened."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ValidationError):
        return _form(error)
    if isinstance(error, AwayError):
        return RequestError("away", "the database cannot be used now: nothing was stored; try again", after=2)
    for kind, code in ((UnknownError, "unknown_asset"), (ConflictError, "conflict"), (InvalidError, "form")):
        if isinstance(error, kind):
            return RequestError(code, str(error))
    if isinstance(error, ServingError):
        return RequestError("not_ready", str(error), after=5)
    return RequestError("internal", "this should not have happened: look into the service's log, and report it")


def body(error: RequestError) -> bytes:
    told = {"error": {"code": error.code, "message": str(error), "where": error.where}}
    return json.dumps(told, ensure_ascii=False).encode(errors="replace")


def _form(error: ValidationError) -> RequestError:
    """The first problem, and how many more there are."""
    first: dict[str, Any] = dict(error.errors(include_url=False, include_context=False, include_input=False)[0])
    where = _place(first["loc"])
    more = f" ({error.error_count() - 1} more problems)" if error.error_count() > 1 else ""
    code = "malformed" if first["type"] == "json_invalid" else "form"
    return RequestError(code, short(f"{where or 'the body'}: {first['msg']}", 400) + more, short(where, 200))


def _place(path: Sequence[str | int]) -> str:
    """("columns", "time", 3) → columns.time[3]"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
