"""Why a model should be trained anew, if it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.asset_class import AssetClass
from serving.drift.report import ClassReport
from serving.export.files import MANIFEST, moment
from serving.export.fleet import Wanted
from serving.export.tables import read_log


def reasons(
    cls: AssetClass, wanted: Wanted, drift: Sequence[ClassReport], enough: int, *, force: bool = False
) -> list[str]:
    """In words, for a person; none: leave the model alone. `enough` new failures are a reason."""
    found = ["asked for by --force"] if force else []
    for each in drift:
        if each.asset_class == wanted.asset_class and each.verdict == "drifted":
            found.append(each.reason)
    new = new_failures(cls, wanted)
    if new >= enough:
        found.append(f"{new} failures since the last export (enough: {enough})")
    return found


def new_failures(cls: AssetClass, wanted: Wanted) -> int:
    """Failures of the log that the last export of this fleet does not have."""
    if wanted.failures is None:
        return 0
    log, _ = read_log(cls, wanted.failures, skip=wanted.skip_unusable)
    logged = {(asset, moment(cls, end.time)) for asset, ends in log.items() for end in ends if end.kind == "failure"}
    return len(logged) - len(logged & exported_failures(wanted.folder))


def exported_failures(folder: Path) -> set[tuple[str, str]]:
    """(asset, time) of those in an export; none without one."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    machines = manifest["per_machine"]
    return {(asset, at) for asset, own in machines.items() for at, kind in own["ends"] if kind == "failure"}
