"""One run of the demo, from its first process to the last line."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from data import paths
from serving.demo.asking import compare
from serving.demo.errors import ChoiceError, DemoError
from serving.demo.plant import Plant
from serving.demo.reading import FromDatabase, FromService
from serving.demo.recording import Stage, prepare, read_contract
from serving.demo.stop import Stop
from serving.demo.view import View, summary
from serving.demo.watch import Machine, Scene, Watch
from serving.demo.words import Words

LASTS = 40.0  # seconds that the longest life takes, by default
EVERY, EVERY_LINE = 0.25, 3.0  # seconds between two pictures, between two lines
STALLED = 60.0  # seconds without anything new


@dataclass(frozen=True)
class Options:
    """What the command says; `machines`: how many, or which."""

    fleet: str = "pump"
    machines: int | tuple[str, ...] = 4
    speed: float | None = None
    service: bool = True
    stay: bool = False
    plain: bool = False
    folder: Path | None = None


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the program, and leave ours running


class Show:
    def __init__(self, options: Options, stop: Stop) -> None:
        self.options, self.stop = options, stop
        self._console = _Console(highlight=False)
        self._began = time.monotonic()

    def run(self) -> None:
        """`DemoError` says what failed and where its log is; the folder is kept then."""
        contract = read_contract(self.options.fleet)
        folder = self._folder()
        plant = Plant(
            folder,
            paths.artifact(self.options.fleet, "bundle"),
            service=self.options.service,
            stopped=lambda: self.stop.wanted,
        )
        self.stop.at_once = plant.processes.kill
        keep = self.options.folder is not None
        try:
            try:
                self._line(f"starting; files and logs are in {folder}")
                plant.start_centre()
                self._line(f"reading the records of {self.options.fleet}")
                stage = prepare(self.options.fleet, contract, self.options.machines, folder, time.time_ns())
                self._play(plant, stage)
            except OSError as error:
                if error.filename is not None:
                    raise
                self.stop.set()  # the terminal or the pipe that all this is written to is gone
            except ChoiceError:
                raise
            except Exception:
                keep = True
                raise
        finally:
            with contextlib.suppress(OSError):
                self._line("stopping")
            plant.stop()
            if not keep or self.stop.wanted:
                self._remove(folder)
            _spare_stdout()

    def _folder(self) -> Path:
        given = self.options.folder
        if given is None:
            return Path(tempfile.mkdtemp(prefix="overhaul-demo-"))
        given.mkdir(parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise DemoError(f"{given} is not empty: name a new folder")
        return given.absolute()

    def _remove(self, folder: Path) -> None:
        if self.options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)

    def _play(self, plant: Plant, stage: Stage) -> None:
        speed = stage.length / LASTS if self.options.speed is None else self.options.speed
        plant.start_gateway(stage, speed)
        if plant.url is not None:
            self._line("waiting for the service, which loads and tests the bundle: some seconds")
        plant.wait_for_service()
        if self.stop.wanted:
            return
        words, unit = Words(stage), stage.contract.time.unit
        faster = speed if unit == "s" and speed else None
        view = View(words, faster, str(plant.folder), plant.url, self._console.width)
        reader = FromDatabase(plant.database) if plant.url is None else FromService(plant.ask, unit)
        watch = Watch(plant.database, stage, reader)
        if self._console.is_terminal and not self.options.plain and os.environ.get("TERM") != "dumb":
            with Live(view.starting("…"), console=self._console, auto_refresh=False, transient=True) as live:
                self._follow(plant, watch, lambda scene, over: live.update(view.scene(scene, over), refresh=True))
        else:
            self._follow(plant, watch, Lines(words, self._line, watch))
        if self.stop.wanted and not any(map(watch.over, watch.machines)):
            return
        self._console.print(summary(words, [machine for machine in watch.machines if watch.over(machine)]))
        # What the snapshots of waveforms were is not stored: a fleet that has some cannot be asked for again like this.
        if not self.stop.wanted and plant.url is not None and not stage.waveforms:
            self._line(compare(plant, stage, watch.machines[0]))
        if self.options.stay and not self.stop.wanted:
            self._line(f"going on until Ctrl-C; the service is at {plant.url}, the database in {plant.folder}")
            while not self.stop.wait(EVERY):
                plant.processes.check()

    def _follow(self, plant: Plant, watch: Watch, show: Any) -> None:
        """Until all records have been played, or the user has had enough."""
        seen, since = -1, time.monotonic()
        while not self.stop.wanted:
            plant.processes.check()
            scene = watch.read()
            show(scene, [machine for machine in scene.machines if watch.over(machine)])
            if scene.done:
                return
            if scene.rows != seen:
                seen, since = scene.rows, time.monotonic()
            elif time.monotonic() - since > STALLED:
                raise DemoError(f"nothing new has reached the centre for {STALLED:g} s: see the logs in {plant.folder}")
            self.stop.wait(EVERY)

    def _line(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}", soft_wrap=True)


class Lines:
    """The scene as lines: what is new at once, how each machine fares now and then."""

    def __init__(self, words: Words, say: Any, watch: Watch) -> None:
        self._words, self._say, self._watch = words, say, watch
        self._told: dict[str, int] = {}  # changes of each machine
        self._over: set[str] = set()
        self._next = 0.0

    def __call__(self, scene: Scene, over: Sequence[Machine]) -> None:
        words = self._words
        for machine in scene.machines:
            name = machine.played.asset
            for change in machine.changes[self._told.get(name, 0) :]:
                self._say(f"{words.moment(change.t)}: {words.change(change)}")
            self._told[name] = len(machine.changes)
        for machine in over:
            if machine.played.asset not in self._over:
                self._over.add(machine.played.asset)
                self._say(f"{words.moment(machine.played.last)}: {machine.played.asset} {words.outcome(machine)}")
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_LINE
            told = [self._state(machine) for machine in scene.machines if machine not in over]
            self._say(
                f"{words.moment(scene.now)}: {'; '.join(told)} · {scene.rows:,} rows, {scene.rate:.1f} messages/s"
            )

    def _state(self, machine: Machine) -> str:
        point, words = machine.newest, self._words
        if point is None:
            return f"{machine.played.asset} waiting"
        return (
            f"{machine.played.asset} health {point.health:.0%}, "
            f"{words.with_life(point.rul)} ({words.interval(point.lower, point.upper)})"
        )


def _spare_stdout() -> None:
    """Nobody may be there to read: what is left in the buffer must not raise when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
