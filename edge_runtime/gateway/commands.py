"""Commands down: signed by the centre, allowed here, written at most once, read back, answered.

    link ──▶ CommandDesk.receive(payload, retained)      queued; all else in the desk's own thread
    verify, stop file, allow-list, term, range, deadline, rate
        ──▶ id on disk ──▶ source.write, which reads back ──▶ answer on disk ──▶ spool

Off unless it is enabled. An id is on disk before anything is written; when the gateway stops in between, the command is
answered "unknown" with what is read back, and never tried again.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from edge_runtime.clock import Clock
from edge_runtime.contract import bodies
from edge_runtime.contract.command import Command, verify
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.contract.signature import read_public_key
from edge_runtime.contract.text import load
from edge_runtime.errors import CommandError, CommandRefusedError, CommandUnsureError, EdgeError, WireError
from edge_runtime.gateway.command_log import BEGUN, CommandLog, Record
from edge_runtime.gateway.command_rules import MINUTE, Rules
from edge_runtime.gateway.config import AllowedCommand, CommandSettings
from edge_runtime.journal.work import Work
from edge_runtime.sources.source import Readable, Rounding, Source

log = logging.getLogger(__name__)

WAITING = 32  # commands that may wait; they are rare, and expire
WRITE_TIMEOUT = 60.0  # s; sources have shorter ones of their own
READ_TRIES = 100  # at reading back after a restart, a pause apart: sources need time to connect
PAUSE = 0.2  # s
_DECLINE = 1_000_000_000  # nanos between two answers that commands are off
_LARGEST = 64 << 10  # bytes of a command
_ROUNDING = 1e-6  # of the limits: a float32 and a factor like 0.1 are not exact, and mean the limit all the same
_AUTHENTIC = ("future", "expired")  # refusals that follow a signature which was right


class _Came(NamedTuple):
    payload: bytes
    retained: bool
    monotonic: int


class CommandDesk:
    """Carries commands out, one after the other.

    `term(asset)` is the term under which the gateway has the asset, None if it has no such asset. `submit(work)`
    commits an answer (`Journal.submit`; False: try again); the desk stands in the receipts of its Works, as sources do.
    `path` is a database of its own. `counts`: done, failed, unknown, and refused_<reason>.
    Raises `EdgeError` if it is enabled and the key or an allowed channel's source cannot be used.
    """

    def __init__(
        self,
        settings: CommandSettings,
        gateway: str,
        sources: Sequence[Source],
        term: Callable[[str], int | None],
        submit: Callable[[Work], bool],
        path: Path,
        clock: Clock,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings, self._gateway, self._submit = settings, gateway, submit
        self._path, self._clock, self._write_timeout = path, clock, write_timeout
        self._rules = Rules(settings, term, self._lately)
        self._queue: queue.Queue[_Came] = queue.Queue(WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._busy: dict[str, threading.Thread] = {}  # writes that did not come back in time, by source
        self._ended: list[Record] = []  # and not yet on disk
        self._unanswered: list[Record] = []
        self._lock = threading.Lock()
        self._declined: int | None = None
        self._committed: list[str] = []  # ids whose answer is in the spool
        if settings.enabled and settings.public_key is not None:
            self._key = read_public_key(settings.public_key)
            self._sources = {where: _source(sources, one) for where, one in self._rules.allowed.items()}

    def start(self) -> None:
        """Answer what was begun before, then carry out what comes; nothing if commands are off."""
        if self._settings.enabled and self._thread is None:
            self._log = CommandLog(self._path)
            self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """What waits is not carried out; a write that is going on is waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            try:
                self._settle()
            except sqlite3.Error as error:
                log.error("the log of commands cannot be written: %s", error)
            self._log.close()

    def receive(self, payload: bytes, retained: bool) -> None:
        """From the link's thread, whatever came."""
        try:
            if not self._settings.enabled:
                self._decline(payload, retained)
                raise CommandRefusedError("off", "commands are off: see [commands] enabled")
            self._queue.put_nowait(_Came(payload, retained, self._clock.monotonic()))
        except queue.Full:
            self._count_refused(CommandRefusedError("busy", f"{WAITING} commands are waiting"))
        except CommandRefusedError as refusal:
            self._count_refused(refusal)

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        """The answers to these ids are committed; from the journal's thread."""
        with self._lock:
            self._committed += receipts

    # The desk's own thread.

    def _run(self) -> None:
        interrupted = [(record, READ_TRIES) for record in self._log.begun()]
        self._unanswered = self._log.unanswered()
        while not self._stop.is_set():
            try:
                interrupted = self._recover(interrupted)
                self._settle()
                self._handle(self._queue.get(timeout=PAUSE))
                self._settle()
            except queue.Empty:
                continue
            except sqlite3.Error as error:
                self.counts["log_failed"] += 1
                log.error("the log of commands cannot be written: %s; trying again", error)
                self._stop.wait(PAUSE)
            except Exception:
                self.counts["error"] += 1
                log.exception("a command could not be handled")

    def _handle(self, came: _Came) -> None:
        try:
            command = self._verify(came)
        except CommandRefusedError as refusal:
            self._count_refused(refusal)
            return
        try:
            allowed = self._check(command, came)
            self._begin(command)
        except CommandRefusedError as refusal:
            if refusal.reason != "replayed":
                self._tell(command.id, command.asset, command.channel, refusal.reason)
            self._count_refused(refusal)
            return
        self._end(self._write(command, allowed, came))

    def _verify(self, came: _Came) -> Command:
        if came.retained:
            raise CommandRefusedError("retained", "a retained command: it is not known how old it is")
        try:
            return verify(self._key, came.payload, self._gateway, self._clock.utc())
        except CommandRefusedError as refusal:
            if refusal.reason in _AUTHENTIC:
                fields = json.loads(came.payload)
                self._tell(fields["id"], fields["asset"], fields["channel"], refusal.reason)
            raise

    def _check(self, command: Command, came: _Came) -> AllowedCommand:
        """Whether it may be carried out here and now; `CommandRefusedError` if not."""
        self._check_new(command)  # before anything else: what comes twice must not use up the rate of what is new
        allowed = self._rules.check(command)
        self._check_time(command, came)
        source = self._sources[command.asset, command.channel].name
        if source in self._busy and self._busy[source].is_alive():
            raise CommandRefusedError("busy", f"source '{source}' still hangs in an earlier command")
        self._rules.spend(allowed, self._clock.monotonic())
        return allowed

    def _check_time(self, command: Command, came: _Came) -> None:
        if self._clock.utc() >= command.expires or self._clock.monotonic() >= command.deadline(came.monotonic):
            raise CommandRefusedError("expired", f"command {command.id} has waited for too long")

    def _check_new(self, command: Command) -> None:
        before = self._log.find(command.id)
        if before is not None:
            if before.status != BEGUN:
                self._unanswered.append(before)  # its answer may have been lost
            raise _replayed(command)

    def _begin(self, command: Command) -> None:
        """Its id on disk; from here on it is never carried out again, whatever happens."""
        try:
            new = self._log.begin(command, self._clock.utc())
        except sqlite3.Error as error:
            raise CommandRefusedError("disk", f"the id of command {command.id} cannot be kept: {error}") from error
        if not new:
            raise _replayed(command)

    def _write(self, command: Command, allowed: AllowedCommand, came: _Came) -> Record:
        """Through the source, in a thread of its own that may be left behind."""
        try:
            self._check_time(command, came)  # the disk may have been slow
        except CommandRefusedError as refusal:
            return _record(command, "refused", reason=refusal.reason)
        source = self._sources[command.asset, command.channel]
        results: queue.Queue[float | Exception] = queue.Queue()

        def write() -> None:
            try:
                _check_rounded(source, command, allowed)
                self._check_time(command, came)  # it may have asked the device
                results.put(float(source.write(command.asset, command.channel, command.value)))
            except Exception as error:
                results.put(error)

        thread = threading.Thread(target=write, name=f"command-{source.name}", daemon=True)
        thread.start()
        try:
            result = results.get(timeout=self._write_timeout)
        except queue.Empty:
            self._busy[source.name] = thread
            return _record(command, "unknown", reason=f"no answer within {self._write_timeout:g} s")
        if isinstance(result, CommandRefusedError):
            log.warning("a command is refused, %s", result)
            return _record(command, "refused", reason=result.reason)
        if isinstance(result, CommandUnsureError):
            return _record(command, "unknown", reason=str(result))
        if isinstance(result, CommandError):
            return _record(command, "failed", reason=str(result))
        if isinstance(result, Exception):
            return _record(command, "failed", reason=f"{type(result).__name__}: {result}")
        if not abs(result - command.value) <= allowed.largest_difference:  # NaN too
            reason = f"{command.value:g} was written, {result:g} read back"
            return _record(command, "failed", result if math.isfinite(result) else None, reason)
        return _record(command, "done", result)

    def _recover(self, interrupted: list[tuple[Record, int]]) -> list[tuple[Record, int]]:
        """Read back what an earlier run had begun; those that cannot be read yet, with the tries that are left."""
        waiting = []
        for record, tries in interrupted:
            value = self._read(record)
            if value is None and tries > 1:
                waiting.append((record, tries - 1))
                continue
            reason = "the gateway stopped before it knew whether this was written"
            self._end(replace(record, status="unknown", read_back=value, reason=reason))
        return waiting

    def _read(self, record: Record) -> float | None:
        source = self._sources.get((record.asset, record.channel))
        if source is None or not hasattr(source, "read"):
            return None
        try:
            value = float(cast(Readable, source).read(record.asset, record.channel))
        except Exception as error:
            log.info("command %s: %s %s cannot be read: %s", record.id, record.asset, record.channel, error)
            return None
        return value if math.isfinite(value) else None

    def _lately(self, asset: str, channel: str) -> int:
        return self._log.since(asset, channel, self._clock.utc() - MINUTE)

    # What is told.

    def _end(self, record: Record) -> None:
        """It is over; `_settle` puts that on disk, and answers."""
        self._ended.append(record)
        self.counts[record.status] += 1
        log.log(
            logging.INFO if record.status == "done" else logging.WARNING,
            "command %s: %s %s = %g: %s, read back %s%s",
            record.id,
            record.asset,
            record.channel,
            record.value,
            record.status,
            "nothing" if record.read_back is None else f"{record.read_back:g}",
            f" ({record.reason})" if record.reason else "",
        )

    def _settle(self) -> None:
        """On disk what has ended, to the centre what is not answered; `sqlite3.Error` if that must be tried again."""
        with self._lock:
            committed, self._committed = self._committed, []
        self._log.answered(committed)
        while self._ended:
            self._log.end(self._ended[0])
            self._unanswered.append(self._ended.pop(0))
        self._unanswered = [record for record in self._unanswered if not self._answer(record)]

    def _answer(self, record: Record) -> bool:
        work = Work(messages=[self._message(record)], urgent=True)
        work.receipts.append((cast(Source, self), record.id))  # the journal calls nothing but `acknowledge`
        return self._submit(work)

    def _tell(self, id_: str, asset: str, channel: str, reason: str) -> None:
        """A refusal; it is not kept if it cannot be told now, for nothing was written."""
        record = Record(id_, asset, channel, 0.0, 0, "refused", None, reason)
        if not self._submit(Work(messages=[self._message(record)], urgent=True)):
            self.counts["unanswered"] += 1

    def _message(self, record: Record) -> Outgoing:
        now = self._clock.utc()
        reason = None if record.reason is None else record.reason[:1000]
        answer = bodies.Ack(record.id, record.status, record.asset, record.channel, reason, record.read_back, now)
        return Outgoing("ack", Lane.ALARM, record.asset, now, now, bodies.pack(answer))

    def _decline(self, payload: bytes, retained: bool) -> None:
        """That commands are off, to who has sent one. Nobody can be known here without a key: once a second at most."""
        now = self._clock.monotonic()
        if retained or len(payload) > _LARGEST or (self._declined is not None and now - self._declined < _DECLINE):
            return
        try:
            fields = load(payload, "a command")
            if fields.get("gateway") == self._gateway:
                self._tell(fields["id"], fields["asset"], fields["channel"], "off")
                self._declined = now
        except (WireError, ValueError, TypeError, KeyError):
            return

    def _count_refused(self, refusal: CommandRefusedError) -> None:
        self.counts[f"refused_{refusal.reason}"] += 1
        log.warning("a command is refused, %s", refusal)


def _record(command: Command, status: str, read_back: float | None = None, reason: str | None = None) -> Record:
    return Record(command.id, command.asset, command.channel, command.value, 0, status, read_back, reason)


def _replayed(command: Command) -> CommandRefusedError:
    return CommandRefusedError("replayed", f"command {command.id} was begun before")


def _check_rounded(source: Source, command: Command, allowed: AllowedCommand) -> None:
    """A device that takes steps gets the nearest one, which may lie beyond what is allowed here."""
    if not hasattr(source, "nearest"):
        return
    nearest = float(cast(Rounding, source).nearest(command.asset, command.channel, command.value))
    slack = _ROUNDING * max(abs(allowed.low), abs(allowed.high))
    if not allowed.low - slack <= nearest <= allowed.high + slack:
        raise CommandRefusedError(
            "out_of_range",
            f"{command.asset} {command.channel} = {command.value:g} would be written as {nearest:g}: "
            f"{allowed.low:g} to {allowed.high:g} is allowed",
        )


def _source(sources: Sequence[Source], allowed: AllowedCommand) -> Source:
    """Where an allowed channel is written."""
    found = [source for source in sources if allowed.source in (None, source.name)]
    if len(found) != 1:
        names = ", ".join(source.name for source in sources) or "none"
        raise EdgeError(
            f"[commands] allow: {allowed.asset} {allowed.channel} has source = {allowed.source!r}: name the one that "
            f"writes it (there are {names})"
        )
    return found[0]
