"""Which status each refusal has. The codes are for programs, and stay; the messages are for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from serving.api.problems import form_problem
from serving.errors import AwayError, ConflictError, DoubtError, InvalidError, RequestError, ServingError, UnknownError

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
    "unknown_plant": 404,  # or a node of it
    "unknown_alarm": 404,
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


def refusal(error: BaseException, form: type[BaseModel] | None = None) -> RequestError:
    """Any exception as what is told of it: of what nobody foresaw, only that it happened. `form`: what was read."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ValidationError):
        return form_problem(error, form)
    if isinstance(error, DoubtError):
        return RequestError(
            "late",
            "the database went away at the end: ask with the same Idempotency-Key, or look, whether it was stored",
        )
    if isinstance(error, AwayError):
        return RequestError("away", "the database cannot be used now: nothing was stored; try again", after=2)
    if isinstance(error, UnknownError):
        return RequestError(f"unknown_{error.what}", str(error))
    for kind, code in ((ConflictError, "conflict"), (InvalidError, "form")):
        if isinstance(error, kind):
            return RequestError(code, str(error))
    if isinstance(error, ServingError):
        return RequestError("not_ready", str(error), after=5)
    return RequestError("internal", "this should not have happened: look into the service's log, and report it")


def body(error: RequestError) -> bytes:
    told = {"error": {"code": error.code, "message": str(error), "where": error.where}}
    return json.dumps(told, ensure_ascii=False).encode(errors="replace")
