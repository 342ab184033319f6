"""Keeps the shelf in step with the sources. Who serves takes `shelf`, an attribute that is replaced whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_runtime.bundle import Bundle
from edge_runtime.errors import EdgeError
from serving.errors import ServingError
from serving.models.folders import Folders
from serving.models.registry import Registry
from serving.models.served import Served
from serving.models.settings import ModelsSettings
from serving.models.shelf import Shelf
from serving.models.source import Offer, Source

log = logging.getLogger(__name__)


class Catalogue:
    """`refresh` looks at all sources once; `start` does so again and again, in a thread, until `stop`.

    Of a fleet that several sources offer, the first source says what is default. `problems`: what cannot be used, and
    why, by fleet and version; a source that cannot be asked keeps what it offered last.
    """

    def __init__(self, sources: Sequence[Source], load: Callable[[Path], Bundle], every: float = 10.0) -> None:
        self.shelf = Shelf()
        self.problems: Mapping[str, str] = {}
        self._sources, self._load, self._every = tuple(sources), load, every
        self._offered: dict[int, Sequence[Offer]] = {}
        self._refused: dict[tuple[str, str, str], str] = {}
        self._busy = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    @classmethod
    def of(cls, settings: ModelsSettings) -> Catalogue:
        sources: list[Source] = [] if settings.registry is None else [Registry(settings.registry)]
        sources.append(Folders(settings.folders, settings.base))

        def load(folder: Path) -> Bundle:
            return Bundle.load(folder, threads=settings.threads, provider=settings.provider)

        return cls(sources, load, settings.every)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def refresh(self) -> list[str]:
        """What has changed, a line each. Requests go on meanwhile; the new shelf is put up in one assignment."""
        with self._busy:
            old = self.shelf
            problems: dict[str, str] = {}
            offers = self._offers(problems)
            versions: dict[str, dict[str, Served]] = {}
            defaults: dict[str, str] = {}
            for offer in offers:
                served = self._served(old, offer, problems)
                if served is None or served.version in versions.get(offer.name, {}):
                    continue
                versions.setdefault(offer.name, {})[served.version] = served
                if offer.default:
                    defaults.setdefault(offer.name, served.version)
            for name, each in versions.items():
                defaults.setdefault(name, next(iter(each)))
            new = Shelf(versions, defaults)
            for key in problems.keys() - self.problems.keys():
                log.error("%s: %s", key, problems[key])
            self.shelf, self.problems = new, problems
            return _changes(old, new)

    def _offers(self, problems: dict[str, str]) -> list[Offer]:
        for place, source in enumerate(self._sources):
            try:
                self._offered[place] = source.look()
            except ServingError as error:
                problems[f"source {place + 1}"] = str(error)
        return [offer for place in sorted(self._offered) for offer in self._offered[place]]

    def _served(self, old: Shelf, offer: Offer, problems: dict[str, str]) -> Served | None:
        """The bundle of an offer; if it cannot be used, the one served so far, if any."""
        before = old.versions.get(offer.name, {})
        same = next((served for served in before.values() if served.mark == offer.mark), None)
        if same is not None:
            return same
        key = (offer.name, offer.version, offer.mark)
        if key not in self._refused:
            try:
                bundle = self._load(offer.fetch())
                return Served(offer.name, offer.version, bundle, offer.aliases, offer.run_id, offer.mark)
            except (EdgeError, OSError) as error:  # a bundle that is bad stays bad until its mark changes
                self._refused[key] = str(error)
            except ServingError as error:  # could not be fetched: tried again
                problems[f"{offer.name} {offer.version}"] = str(error)
                return before.get(old.defaults.get(offer.name, ""))
        problems[f"{offer.name} {offer.version}"] = self._refused[key]
        return before.get(old.defaults.get(offer.name, ""))

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                for line in self.refresh():
                    log.info(line)
            except Exception:
                log.exception("the models could not be looked at; they stay as they are")


def _changes(old: Shelf, new: Shelf) -> list[str]:
    lines = []
    for name in sorted({*old.defaults, *new.defaults}):
        before, after = old.defaults.get(name), new.defaults.get(name)
        if before != after:
            lines.append(f"fleet '{name}': {after or 'no longer served'}" + (f", before {before}" if before else ""))
    return lines
