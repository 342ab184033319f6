"""The OpenAPI 3.1 document: from the routes, and from the pydantic forms that really read and are answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.api.call import JSON, Route
from serving.api.errors import STATUS

_REF = "#/components/schemas/{model}"
_KEYED = ("no_key", "role", "rate")  # of whatever needs a key


def document(routes: Iterable[Route], error: type[BaseModel]) -> dict[str, Any]:
    """Of all `routes`; every refusal has the form `error`."""
    routes = list(routes)
    forms = [(each, "validation") for each in {route.form for route in routes if route.form}]
    forms += [(each, "serialization") for each in [*{route.answer for route in routes if route.answer}, error]]
    names, schemas = models_json_schema(forms, ref_template=_REF)  # type: ignore[arg-type]
    paths: dict[str, Any] = {}
    for route in routes:
        form = None if route.form is None else names[route.form, "validation"]
        answer = None if route.answer is None else names[route.answer, "serialization"]
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, form, answer, names[error, "serialization"]
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Overhaul: the centre", "version": "1", "description": "Predictive maintenance of machines."},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, or a JSON Web Token"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(route: Route, form: Any, answer: Any, error: Any) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.sends.items()
    ]
    parameters += _query(route)
    told: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.handler.__name__,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": {route.kind: {"schema": answer or {}}}},
            **_refusals(route, error),
        },
        "security": [] if route.roles is None else [{"bearer": []}, {"key": []}],
    }
    if route.roles is not None:
        told["description"] = f"Needs the role {' or '.join(route.roles)}."
    if route.form is not None:
        required = any(field.is_required() for field in route.form.model_fields.values())
        told["requestBody"] = {"required": required, "content": {JSON: {"schema": form}}}
    return told


def _query(route: Route) -> list[dict[str, Any]]:
    """What may stand behind the "?": single values, so their schemas stand by themselves."""
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(each)}
        | ({"description": each["description"]} if "description" in each else {})
        for name, each in schema["properties"].items()
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the null that means "left out": it cannot be sent."""
    kept = {name: value for name, value in schema.items() if name not in ("title", "description")}
    if kept.get("default", 0) is None:
        del kept["default"]
    either = [each for each in kept.pop("anyOf", ()) if each != {"type": "null"}]
    return {**kept, **either[0]} if len(either) == 1 else {**kept, **({"anyOf": either} if either else {})}


def _refusals(route: Route, error: Any) -> dict[str, Any]:
    codes: Sequence[str] = (*route.codes, *(_KEYED if route.roles is not None else ()), "method", "internal")
    found: dict[int, list[str]] = {}
    for code in STATUS:
        if STATUS[code] in {STATUS[each] for each in codes}:
            found.setdefault(STATUS[code], []).append(code)
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(own)}",
            "content": {JSON: {"schema": error}},
        }
        for status, own in sorted(found.items())
    }
