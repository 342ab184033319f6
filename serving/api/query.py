"""What stands behind the "?" of a request, into the form of its route."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict

from edge_runtime.decode import suggest
from serving.errors import RequestError

_MOST = 50  # parts of a query


class QueryForm(BaseModel):
    """Single values, read from text: "3" is a number, "true" a truth. What is left out has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


Form = TypeVar("Form", bound=QueryForm)


def read_query(form: type[Form], query: bytes) -> Form:
    """`RequestError` for what no query is and for names that `form` lacks, `ValidationError` for its values."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST)
    except ValueError as error:
        raise RequestError("malformed", f"the query cannot be read: {error}; percent-encode it as UTF-8") from None
    given: dict[str, str] = {}
    known = [field.alias or name for name, field in form.model_fields.items()]
    for name, value in pairs:
        if name not in known:
            raise RequestError(
                "form", f"'{name[:80]}' is nothing that can be asked for here: {suggest(name[:80], known)}", name[:80]
            )
        if name in given:
            raise RequestError("form", f"'{name}' is given twice: give it once", name)
        given[name] = value
    return form.model_validate(given)
