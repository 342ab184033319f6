"""One finding of a check, and all of them as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from edge_runtime.gateway.page import aligned


@dataclass(frozen=True)
class Line:
    """`warn`: the gateway runs, and somebody should know."""

    part: str
    what: str
    result: Literal["ok", "warn", "FAIL"]
    detail: str


def lines_text(lines: Sequence[Line]) -> str:
    """An aligned table, and a last line that sums it up."""
    rows = [(line.result, line.part, line.what, line.detail) for line in lines]
    failed, warned = (sum(line.result == result for line in lines) for result in ("FAIL", "warn"))
    told = f"{failed} failed, {warned} to look at" if failed or warned else "all well"
    return "\n".join([*aligned(rows, ""), f"{len(lines)} checked: {told}"])


def lines_json(lines: Sequence[Line]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=2, ensure_ascii=False)
