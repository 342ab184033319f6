"""Another bundle for a class that is running: loaded and warmed up in the background, taken up between two batches.

What the new model's state has in common with the old one goes over (equal fingerprints). The rest is warmed up by the
observations that the journal still has, and by those that come in meanwhile, so the gap is one batch long. Numbers go
on, active alarms stay. A bundle that cannot be used is refused once, and the old one runs on. So it does when its own
folder is damaged; that is told, for a restart would not find a usable bundle there.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from edge_runtime.batch import Batch
from edge_runtime.bundle import MANIFEST, read_files
from edge_runtime.errors import BundleError, EdgeError
from edge_runtime.gateway.checkpoint import layout
from edge_runtime.gateway.engine import Engine
from edge_runtime.gateway.folder import RESTS, BundleFolder
from edge_runtime.gateway.history import HasHistory, observed
from edge_runtime.gateway.layout import Translation
from edge_runtime.gateway.streams import Streams
from edge_runtime.gateway.twins import Twins
from edge_runtime.journal.work import Work
from edge_runtime.manifest import Contract
from edge_runtime.takeover import Takeover, take_over, warm

T = TypeVar("T")

log = logging.getLogger(__name__)

NEARLY = 20  # batches that may be left for the engine to catch up with
REST = 1.0  # seconds of rest for each second of warming up: the engine comes first


class Flushes(HasHistory, Protocol):
    """The part of the journal that is needed."""

    def flush(self, timeout: float = 60.0) -> bool: ...


class Swapper:
    """Looks after the bundle folders of a running engine, in a thread of its own.

    `make` loads the bundle of a class and makes twins and streams of it, for the machines that run. `report` is told
    (code, detail, severity) what has become of it. `every`: seconds between two looks at the folders; `rests`: for so
    long a folder must not change before what cannot be used in it counts as damaged.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Flushes,
        folders: Mapping[str, Path],
        make: Callable[[str], tuple[Twins, Streams]],
        report: Callable[[str, str, str], None],
        every: float = 10.0,
        rests: float = RESTS,
    ) -> None:
        self._engine, self._journal = engine, journal
        self._folders = {name: BundleFolder(path, rests) for name, path in folders.items()}
        self._make, self._report, self._every = make, report, every
        self._refused: dict[str, str] = {}  # class → model_id that cannot be used
        self._wanted: set[str] = set()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="bundles", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def request(self, *names: str) -> None:
        """Look at the folders of these classes now, of all if none is named; what was refused is tried again."""
        self._wanted.update(names or self._folders)
        self._wake.set()

    def problem(self, name: str) -> str | None:
        """Why a restart could not use what lies in the folder of class `name`; any thread."""
        return self._folders[name].problem

    def look(self) -> None:
        """Once through all folders."""
        for name, folder in self._folders.items():
            if self._stopping:
                return
            if name in self._wanted:
                self._wanted.discard(name)
                self._refused.pop(name, None)
                folder.is_due(time.monotonic())
                folder.ask()
            due, found = folder.is_due(time.monotonic()), model_of(folder.path)
            running = self._engine.twins[name].model_id
            if found not in (None, running) and (due or found != self._refused.get(name)):
                self._try(name, str(found))
            elif due:
                self._verify(name, folder)

    def _verify(self, name: str, folder: BundleFolder) -> None:
        """The model that runs lies there, or none that can be read: whether a restart could use it."""
        try:
            read_files(folder.path)
        except (BundleError, OSError) as error:
            folder.judge(str(error))
            told = f"class {name} goes on with its bundle, but a restart could not use what lies there now: {error}"
            log.error("%s", told)
            self._report("bundle", told, "error")
        else:
            if folder.problem is not None:
                log.info("the bundle of class '%s' is whole again", name)
            folder.judge(None)

    def swap(self, name: str) -> Takeover:
        """Put the bundle in the folder of class `name` into the running engine; raises what stands in its way."""
        began = time.monotonic()
        old = self._engine.twins[name].bundle
        new, streams = self._make(name)
        _check_alike(name, old.contract, new.bundle.contract)
        anew = _anew(old.contract, new.bundle.contract)
        meanwhile = _Meanwhile(self._engine, name, new)
        self._in_engine(meanwhile.start)
        try:
            warmed = self._warm_up(name, new, meanwhile) if anew else 0
            taken = self._in_engine(lambda work: _switch(self._engine, name, new, streams, meanwhile, work))
        finally:
            meanwhile.stop()
        self._report(
            "bundle",
            f"class {name} goes on with bundle {new.model_id[:12]} after {old.model_id[:12]}: {taken}; warmed up by "
            f"{warmed} observations in {time.monotonic() - began:.1f} s",
            "info",
        )
        return taken

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._every)
            self._wake.clear()
            self.look()

    def _try(self, name: str, found: str) -> None:
        try:
            self.swap(name)
            self._folders[name].judge(None)
        except Exception as error:  # the gateway goes on, whatever a bundle contains
            if self._stopping:
                return
            self._refused[name] = found
            self._folders[name].judge(str(error))
            log.error("class '%s' goes on with its bundle: %s", name, error, exc_info=not isinstance(error, EdgeError))
            self._report("bundle", f"class {name} goes on with its bundle; {found[:12]} is refused: {error}", "error")

    def _warm_up(self, name: str, new: Twins, meanwhile: _Meanwhile) -> int:
        """Advance `new` by what the journal has, then by what came meanwhile, until little of that is left.

        Under load more may come than this thread gets done beside the engine's: then the engine does it itself.
        """
        self._journal.flush()  # all up to where `meanwhile` begins
        layouts = list(self._engine.layouts[name])
        history = observed(self._journal, name, layouts, new, upto=meanwhile.since)
        channels = new.channels
        count = warm(
            new.fleet, new.bundle.contract, self._unhurried(b for _, b in history), new.machines.assets, channels
        )
        fewest = meanwhile.left + 1
        while NEARLY < meanwhile.left < fewest and not self._stopping:
            fewest = meanwhile.left
            count += meanwhile.catch_up(NEARLY)
        if meanwhile.left > NEARLY:
            self._in_engine(meanwhile.hurry)
        while meanwhile.left > NEARLY:
            count += self._in_engine(lambda _: meanwhile.catch_up(NEARLY))
        return count

    def _unhurried(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """`batches`, with a rest after each as long as it took."""
        began = time.monotonic()
        for batch in batches:
            if self._stopping:
                raise EdgeError("the gateway stops")
            yield batch
            time.sleep(REST * (time.monotonic() - began))
            began = time.monotonic()

    def _in_engine(self, function: Callable[[Work], T]) -> T:
        """Call `function` in the engine's thread, and return or raise what it does."""
        done = threading.Event()
        outcome: list[T | Exception] = []

        def call(work: Work) -> None:
            try:
                outcome.append(function(work))
            except Exception as error:
                outcome.append(error)
            done.set()

        self._engine.call(call)
        while not done.wait(0.2):
            if self._stopping:
                raise EdgeError("the gateway stops")
        result = outcome[0]
        if isinstance(result, Exception):
            raise result
        return result


class _Meanwhile:
    """The batches that the running twins of a class are advanced by while the new ones are warmed up."""

    def __init__(self, engine: Engine, name: str, new: Twins) -> None:
        self.since = 0  # batches at later positions are kept here
        self._engine, self._name, self._new = engine, name, new
        self._batches: deque[Batch] = deque()
        self._failed: Exception | None = None
        self._translation: Translation | None = None

    @property
    def left(self) -> int:
        return len(self._batches)

    def start(self, _: Work) -> None:
        """In the engine's thread."""
        running = self._engine.twins[self._name]
        self._translation = Translation(layout(running, 0), layout(self._new, 0))
        self.since = self._engine.position
        running.taps.append(self._batches.append)

    def hurry(self, _: Work) -> None:
        """In the engine's thread, which from now on advances the new twins by two batches for each of its own.

        So what is left becomes less however much comes: the engine slows down, and what it does not take in waits
        where a full inbox lets it wait.
        """
        self._engine.twins[self._name].taps[:] = [self._take_along]

    def _take_along(self, batch: Batch) -> None:
        self._batches.append(batch)
        try:
            self.catch_up(2)
        except Exception as error:  # it is no fault of the twins that run
            self._failed = error

    def stop(self) -> None:
        self._engine.call(lambda _: self._engine.twins[self._name].taps.clear())

    def catch_up(self, most: int) -> int:
        """Advance the new twins by up to `most` of the batches; raises, now and again, what that came to grief over."""
        if self._failed is not None:
            raise self._failed
        return warm(
            self._new.fleet,
            self._new.bundle.contract,
            self._take(most),
            self._new.machines.assets,
            self._new.channels,
        )

    def _take(self, most: int) -> Iterator[Batch]:
        assert self._translation is not None
        for _ in range(min(most, len(self._batches))):
            batch = self._translation.batch(self._batches.popleft())
            if batch is not None:
                yield batch


def _switch(engine: Engine, name: str, new: Twins, streams: Streams, meanwhile: _Meanwhile, work: Work) -> Takeover:
    """Between two rounds of the engine."""
    old = engine.twins[name]
    if _anew(old.bundle.contract, new.bundle.contract):
        meanwhile.catch_up(meanwhile.left)
    taken = take_over(old.fleet, old.bundle.contract, new.fleet, new.bundle.contract)
    new.follow(old)
    if taken.anew:
        new.occurrences.hold()
    engine.replace(name, new, streams, work)
    return taken


def _anew(old: Contract, new: Contract) -> bool:
    """Whether a part of the new state has no equal in the old one."""
    known = {(part.name, part.fingerprint, part.size) for part in old.state.slices}
    return any((part.name, part.fingerprint, part.size) not in known for part in new.state.slices)


def _check_alike(name: str, old: Contract, new: Contract) -> None:
    for what, before, now in (
        ("asset class", old.asset_class, new.asset_class),
        ("unit of time", old.time.unit, new.time.unit),
    ):
        if before != now:
            raise BundleError(
                f"the {what} of class '{name}' is {before!r}, that of the new bundle {now!r}: another class needs "
                "another name under [bundles], and a restart"
            )


def model_of(folder: Path) -> str | None:
    """The model_id that the manifest in `folder` names; None if it names none now, as while it is being copied."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())["model_id"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
