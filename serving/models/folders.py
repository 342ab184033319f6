"""Bundles in folders, such as the pipeline writes: `artifacts/<fleet>/bundle`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.bundle import MANIFEST
from edge_runtime.contract.names import is_identifier
from serving.models.source import Offer


class Folders:
    """Each folder that fits one of the `patterns` (relative to `base`); the fleet's name stands in its manifest.

    Where several hold the same fleet, the first in the order of patterns and names is the default.
    """

    def __init__(self, patterns: Sequence[str], base: Path) -> None:
        self._patterns, self._base = tuple(patterns), base

    def look(self) -> Sequence[Offer]:
        offers: dict[tuple[str, str], Offer] = {}
        for pattern in self._patterns:
            path = (self._base / pattern).absolute()  # an absolute pattern stays what it is
            for found in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))):
                offer = _offer(found)
                if offer is not None:
                    offers.setdefault((offer.name, offer.version), offer)
        return list(offers.values())


def _offer(folder: Path) -> Offer | None:
    """None: no manifest there (yet). A manifest that cannot be read is offered under the folder's name, and refused."""
    try:
        text = (folder / MANIFEST).read_bytes()
        mark = _mark(folder, text)
    except OSError:
        return None
    name, version = folder.parent.name, "unreadable"
    try:
        raw = json.loads(text)
        fleet, model = raw["contract"]["fleet"], raw["model_id"]
        if isinstance(fleet, str) and is_identifier(fleet) and isinstance(model, str):
            name, version = fleet, model[:12]
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return Offer(name, version, mark, lambda: folder, default=True)


def _mark(folder: Path, manifest: bytes) -> str:
    """Of all files: a bundle that is still being copied is refused, and must be looked at again when it is whole."""
    mark = hashlib.sha256(manifest)
    for file in sorted(folder.iterdir()):
        try:
            found = file.stat()
        except OSError:  # gone meanwhile
            continue
        mark.update(f"\0{file.name}\0{found.st_size}\0{found.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return mark.hexdigest()
