"""The log of looks at the test machines: artifacts/<fleet>/looks.jsonl, a line a look, never rewritten.

The first look is unbiased. Whoever looks, changes something and looks again chooses by the test machines, knowingly or
not. So each look is written down with its time, the hash of the data and of all choices that decide what is said of
test rows. The same data and choices are the same look, however often the stage runs: nothing is added and no figure
changes. The file belongs into version control, beside the figures that it explains; DVC lets it stand (`persist`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data import paths
from data.errors import DataError
from training import prognosis
from training.dataset import FINAL

FILE = "looks.jsonl"
PARTS = {
    "data": "the data",
    "class": "the class",
    "parameters": "parameters",
    "splits": "the splits",
    "features": "constants of the features",
    "models": "the models",
    "calibration": "the calibration",
}


@dataclass(frozen=True)
class Look:
    """One look. `parts`: name → hash of what may differ; see PARTS."""

    look: int  # 1, 2, …
    time: str  # UTC, of the first time
    commit: str
    parts: Mapping[str, str]
    rmse: float | None  # of the test machines at their cuts, as it was seen

    @property
    def choices(self) -> str:
        """One hash of all choices: of the parts but the data."""
        text = json.dumps({name: value for name, value in sorted(self.parts.items()) if name != "data"})
        return hashlib.sha256(text.encode()).hexdigest()

    def differs(self, other: Look) -> list[str]:
        """What is not as in `other`, in words."""
        return [words for name, words in PARTS.items() if self.parts.get(name) != other.parts.get(name)]


def digest(contents: Iterable[bytes]) -> str:
    """Hex sha256 of some files or texts, in order; where one ends counts."""
    whole = hashlib.sha256()
    for content in contents:
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


def parts(fleet: str, heads: Sequence[str], params: Mapping[str, Any], data: str) -> dict[str, str]:
    """The hash of each part of PARTS, of the files that the stages left; `data` is that of the observations."""

    def files(*names: str) -> list[bytes]:
        return [paths.artifact(fleet, name).read_bytes() for name in names]

    choices = {section: value for section, value in params.items() if section != "fleets"}
    models = ["lstm/weights.npz", *(f"xgboost/{head}.ubj" for head in heads), "isolation_forest/trees.npz"]
    return {
        "data": data,
        "class": digest(files("class.json")),
        "parameters": digest([json.dumps(choices, sort_keys=True).encode()]),
        "splits": digest(files("splits.json")),
        "features": digest(files(f"features/{FINAL}/parameters.npz")),
        "models": digest(files(*models)),
        # what is said follows from the calibration by way of this code
        "calibration": digest([*files("calibration.json"), Path(prognosis.__file__).read_bytes()]),
    }


def read(path: Path) -> list[Look]:
    """The looks so far; none where there is no file. Raises `DataError` for a line that is no look."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(TypeAdapter(Look).validate_json(line))
        except ValidationError as error:
            raise DataError(
                f"{path}, line {number}: not a look at the test machines: {error.errors()[0]['msg']}. Bring the file "
                "back from version control; do not edit it"
            ) from error
    return found


def record(path: Path, parts: Mapping[str, str], time: str, commit: str, rmse: float | None) -> tuple[Look, list[Look]]:
    """This look, added to the log in `path` unless it was had before; and all looks."""
    if set(parts) != set(PARTS):
        raise ValueError(f"a look has the parts {sorted(PARTS)}: got {sorted(parts)}")
    looks = read(path)
    for look in looks:
        if dict(look.parts) == dict(parts):
            return look, looks
    look = Look(len(looks) + 1, time, commit, dict(parts), rmse)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(look)) + "\n")
    return look, [*looks, look]


def remarks(looks: Sequence[Look]) -> list[str]:
    """What to know of each look.

    >>> first = Look(1, "2026-01-03T10:00:00+00:00", "unknown", {"data": "a", "models": "a"}, 2.0)
    >>> remarks([first, Look(2, first.time, first.commit, {"data": "a", "models": "b"}, 1.9)])[1]
    'differs from look 1 in the models: the test figures are no longer a single unbiased look'
    """
    told = ["the first look: unbiased"] if looks else []
    for before, look in pairwise(looks):
        parts = ", ".join(look.differs(before))
        told.append(
            f"differs from look {before.look} in {parts}: the test figures are no longer a single unbiased look"
        )
    return told
