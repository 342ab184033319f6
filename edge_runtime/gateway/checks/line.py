"""One finding of a check, and all of them as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from edge_runtime.gateway.page import aligned
from edge_runtime.sources.source import Finding


@dataclass(frozen=True)
class Line:
    """`warn`: the gateway runs, and somebody should know."""

    part: str
    what: str
    result: Literal["ok", "warn", "FAIL"]
    detail: str


def finding_line(part: str, found: Finding) -> Line:
    """What a source or the link has found, as a line about `part`."""
    return Line(part, found.what, "FAIL" if not found.ok else "warn" if found.warn else "ok", found.detail)


def lines_text(lines: Sequence[Line]) -> str:
    """An aligned table, and a last line that sums it up."""
    rows = [(line.result, line.part, line.what, line.detail) for line in lines]
    failed, warned = (sum(line.result == result for line in lines) for result in ("FAIL", "warn"))
    told = f"{failed} failed, {warned} to look at" if failed or warned else "all well"
    return "\n".join([*aligned(rows, ""), f"{len(lines)} checked: {told}"])


def lines_json(lines: Sequence[Line]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=2, ensure_ascii=False)
