"""The classes that a machine can be of: a name written wrong is seen at once, not when a request is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from edge_runtime.bundle import MANIFEST
from edge_runtime.decode import suggest
from serving.errors import InvalidError
from serving.models.folders import Folders
from serving.models.registry import Registry
from serving.models.settings import ModelsSettings
from serving.models.source import Source


def classes_at_hand(settings: ModelsSettings) -> set[str]:
    """Of all bundles that the service would serve; only their manifests are read, so it takes no time.

    `ServingError` if the registry of models cannot be asked.
    """
    sources: list[Source] = [] if settings.registry is None else [Registry(settings.registry)]
    sources.append(Folders(settings.folders, settings.base))
    found = set()
    for source in sources:
        for offer in source.look():
            try:
                manifest = json.loads((offer.fetch() / MANIFEST).read_bytes())
                found.add(str(manifest["contract"]["asset_class"]))
            except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the service says what is wrong with it
                continue
    return found


def check_classes(given: Iterable[tuple[str, str]], known: Collection[str]) -> list[str]:
    """Of (where it is said, class). `InvalidError` for a class that no bundle is of; without any bundle: warnings."""
    wrong = [(where, name) for where, name in given if name and name not in known]
    if not known:
        names = sorted({name for _, name in wrong})
        return [
            f"class '{name}' is taken as it is written: [service.models] has no bundle to check it" for name in names
        ]
    if wrong:
        told = [
            f"{where}class '{name}': no bundle here is of it; {suggest(name, sorted(known))}" for where, name in wrong
        ]
        raise InvalidError(
            "\n".join([*told, "nothing was changed; with --new-class it is taken before its bundle is here"])
        )
    return []
