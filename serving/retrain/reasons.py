"""Why a model should be trained anew, if it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.asset_class import AssetClass
from serving.drift.report import ClassReport
from serving.export.files import MANIFEST
from serving.export.fleet import Wanted, logged_failures
from serving.export.tables import read_log


def reasons(
    cls: AssetClass, wanted: Wanted, drift: Sequence[ClassReport], enough: int, *, force: bool = False
) -> list[str]:
    """In words, for a person; none: leave the model alone. `enough` new failures are a reason."""
    found = ["asked for by --force"] if force else []
    for each in drift:
        if each.asset_class == wanted.asset_class and each.verdict == "drifted":
            found.append(each.reason)
    if unfinished(wanted).exists():
        found.append("the last retraining did not come to its end")
    new = new_failures(cls, wanted)
    if new >= enough:
        found.append(f"{new} failures since the last export (enough: {enough})")
    return found


def new_failures(cls: AssetClass, wanted: Wanted) -> int:
    """Failures of the log that were not in it at the last export of this fleet.

    Not those that this export lacks: it could not use some, such as failures of machines without rows, and the next one
    could not either; each look would find a reason to train, for ever.
    """
    if wanted.failures is None:
        return 0
    log, _ = read_log(cls, wanted.failures, skip=wanted.skip_unusable)
    logged = {(asset, at) for asset, at in logged_failures(cls, wanted, log)}
    return len(logged - known_failures(wanted.folder))


def known_failures(folder: Path) -> set[tuple[str, str]]:
    """(asset, time) of those that were logged at an export; none without one."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    return {(asset, at) for asset, at in manifest.get("logged_failures", [])}


def unfinished(wanted: Wanted) -> Path:
    """A file that is there from an export until its data were trained on and the new model judged."""
    return wanted.sources / f"{wanted.fleet}.unfinished"
