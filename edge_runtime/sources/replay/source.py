"""A recorded file as a source: what was, at its own pace or any other, as if it came from the machines.

[[source]]
type = "replay"
name = "last-week"
path = "pump.parquet"
machines = "machines.csv"      # rows of others are left out
speed = 60.0       # an hour in a minute; 0: as fast as it is taken in
shift = true       # as if it were now
waveforms = [{ channel = "vibration_waveform", axes = 3 }]     # from pump.vibration_waveform.parquet
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from edge_runtime.clock import Clock
from edge_runtime.decode import Between, Example
from edge_runtime.errors import CommandError, EdgeError
from edge_runtime.settings import read_lines
from edge_runtime.sources.backoff import FIRST, MOST, Backoff, Uniform
from edge_runtime.sources.replay.playback import schedule
from edge_runtime.sources.replay.recording import Block, Recording, Row, Side
from edge_runtime.sources.source import Arrival, Finding, Inbox, Reading, SourceStatus, WaveformArrival
from edge_runtime.timestamps import format_times

_log = logging.getLogger(__name__)
FULL = 0.005  # seconds between looks at a crowded inbox
# With so many arrivals in the inbox a file waits: the rest of the room is for sources that cannot.
CROWD, CROWD_OF_WAVEFORMS = 4000, 200


@dataclass(frozen=True)
class ReplayWaveform:
    """`path` left out: beside the table, `<table>.<channel>.parquet`."""

    channel: Annotated[str, Example('"vibration_waveform"')]
    axes: Annotated[int, Between(1, 64)] = 1
    path: Path | None = None


@dataclass(frozen=True)
class ReplaySettings:
    """`unit`: of the times in the file, as the class of its machines has it. `speed`: seconds (or cycles) a second.

    `machines`: a table with a column `asset`, as the gateway's own: rows of other machines are left out.

    `shift`: times are moved, all by the same, so that playback appears as now (see `playback.as_now`). `loop`: from the
    beginning again, for ever, each time with new lives and at later times.
    """

    name: Annotated[str, Example('"last-week"')]
    path: Annotated[Path, Example('"observations.csv"')]
    unit: Literal["s", "cycle"] = "s"
    machines: Path | None = None
    speed: Annotated[float, Between(0, 1e9)] = 1.0
    loop: bool = False
    shift: bool = False
    waveforms: tuple[ReplayWaveform, ...] = ()
    retry_most: Annotated[float, Between(0.1, 3600)] = MOST  # longest wait until a file that cannot be read is tried

    def __post_init__(self) -> None:
        if self.shift and self.unit != "s":
            raise ValueError('shift = true: a number of cycles has no "now"; leave shift out')
        if self.shift and self.loop and not 0 < self.speed <= 1:
            raise ValueError(
                f"loop and shift at speed = {self.speed:g} would run ahead of the clock, where samples are refused: "
                "use a speed up to 1, or leave one of them out"
            )
        twice = [channel for channel, n in Counter(w.channel for w in self.waveforms).items() if n > 1]
        if twice:
            raise ValueError(f"waveforms has channel '{twice[0]}' more than once: keep one")

    @property
    def sides(self) -> list[Side]:
        return [
            Side(w.channel, w.path or self.path.with_suffix(f".{w.channel}.parquet"), w.axes) for w in self.waveforms
        ]


class ReplaySource:
    """`counts`: received (rows and waveforms); waited (of them, for room in the inbox: none is lost); of the files
    not_listed, waveforms_not_listed, unusable_rows, unusable_waveforms; failures (to read them). `status` says how far
    it is, and when it has finished.
    """

    kind = "replay"

    def __init__(self, settings: ReplaySettings, clock: Clock, random: Uniform | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._backoff = Backoff(clock, min(FIRST, settings.retry_most), settings.retry_most, random)
        self._counts: Counter[str] = Counter()
        self._last_arrival: int | None = None
        self._connected = False
        self._detail = "not started"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._inbox: Inbox | None = None

    @property
    def name(self) -> str:
        return self.settings.name

    def start(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._connected, self._detail = True, f"reading {self.settings.path}"
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"replay {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            self._connected, self._detail = False, "stopped"

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        """Nobody waits: the file stays."""

    def status(self) -> SourceStatus:
        return SourceStatus(
            self.name, self.kind, self._connected, self._detail, self._counts.copy(), self._last_arrival
        )

    def check(self) -> list[Finding]:
        what = f"{self.name}: {self.settings.path}"
        try:
            recording = self._read(lambda: False)
        except (EdgeError, OSError) as error:
            return [Finding(what, False, str(error))]
        unit = self.settings.unit
        first, last = format_times(np.array([recording.first, recording.last]), unit)
        told = f"{len(recording):,} observations of {len(recording.assets):,} machines, {first} to {last} ({unit})"
        if left_out := recording.counts.pop("not_listed", 0):
            told += f"; {left_out:,} rows are left out: their machines are not in {self.settings.machines}"
        told += "".join(f"; {n:,} {name}" for name, n in recording.counts.items())
        findings = [Finding(what, True, told)]
        return [*findings, *(self._check_channel(recording, channel) for channel in recording.channels)]

    def write(self, asset: str, channel: str, value: float) -> float:
        raise CommandError(f"source '{self.name}' is a recording: asset '{asset}' cannot be told {channel} = {value:g}")

    def _check_channel(self, recording: Recording, channel: str) -> Finding:
        what = f"{self.name}: channel {channel}"
        received, strange = recording.values(channel), recording.findings.not_numbers[channel]
        told = f"{len(received):,} values" + (f", {received.min():g} … {received.max():g}" if len(received) else "")
        if strange:
            told += f"; {strange:,} cells are no numbers, e.g. {recording.findings.examples[channel]!r}"
        # Single values may well be impossible: that most of them are is another unit.
        asset = next(iter(recording.assets), "")
        readings = (Reading(asset, channel, float(np.median(received)), "column and unit"),) if len(received) else ()
        return Finding(what, len(received) > 0, told, readings=readings)

    def _read(self, stop: Callable[[], bool]) -> Recording:
        s = self.settings
        only = None if s.machines is None else {line.get("asset") or "" for line in read_lines(s.machines)}
        return Recording(s.path, s.unit, s.sides, stop, only)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                recording = self._read(self._stopping.is_set)
            except Exception as error:  # whatever is wrong with the file, it may be mended
                if self._detail != str(error):
                    _log.warning("source '%s': %s", self.name, error)
                self._connected, self._detail = False, str(error)
                self._counts["failures"] += 1
                self._stopping.wait(self._backoff.failed())
            else:
                self._counts.update(recording.counts)
                self._connected = True
                self._play(recording)
                return

    def _play(self, recording: Recording) -> None:
        s, done, total = self.settings, 0, len(recording)
        for due, item in schedule(recording, self._clock, s.speed, s.loop, s.shift):
            wait = due - self._clock.monotonic()
            if wait > 0:
                self._stopping.wait(wait / 1e9)
            if not self._put(item):
                return
            done += isinstance(item, Row)
            self._detail = f"playing: {done:,} of {total:,} observations" + (" a pass" if s.loop else "")
        self._detail = f"finished: {done:,} observations"
        _log.info("source '%s': %s", self.name, self._detail)

    def _put(self, item: Row | Block) -> bool:
        """Wait while the inbox is full. False: the source is being stopped."""
        assert self._inbox is not None
        arrival: Arrival | WaveformArrival
        if isinstance(item, Row):
            arrival = Arrival(item.asset, item.time, item.values, self)
        else:
            arrival = WaveformArrival(item.asset, item.channel, item.time, item.samples, self)
        crowd = CROWD if isinstance(item, Row) else CROWD_OF_WAVEFORMS
        waited = False
        while not self._stopping.is_set():
            if not self._is_crowded(crowd) and self._inbox.put(arrival):
                self._counts["received"] += 1
                if waited:
                    self._counts["waited"] += 1
                self._last_arrival = self._clock.utc()
                return True
            waited = True
            self._stopping.wait(FULL)
        return False

    def _is_crowded(self, crowd: int) -> bool:
        """Told by the inbox's length, where it has one: an attempt that fails would count as an overflow there."""
        return isinstance(self._inbox, Sized) and len(self._inbox) >= crowd
