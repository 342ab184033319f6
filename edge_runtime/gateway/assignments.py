"""What the centre tells about single machines: verified in a thread of its own, taken by the engine, answered.

    link ──▶ AssignmentDesk.receive(payload, retained)      queued
    signature, gateway ──▶ between two rounds of the engine: machine, class, term, settings, state
        ──▶ entry of the journal and the answer, committed together

Off unless it is enabled, and says so. Nothing is remembered but terms and versions, which only go up: the same may come
again, and is answered again. What does not fit is refused as a whole, counted by reason, and answered if it is
authentic.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge_runtime.clock import Clock
from edge_runtime.contract import bodies
from edge_runtime.contract.assignment import Assignment, verify
from edge_runtime.contract.limits import DEFAULT
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.contract.signature import read_public_key
from edge_runtime.contract.text import load
from edge_runtime.errors import AssignmentRefusedError, WireError
from edge_runtime.gateway.assigned import decide
from edge_runtime.gateway.engine import Engine
from edge_runtime.journal.work import Work

log = logging.getLogger(__name__)

WAITING = 256  # that may wait; the centre sends again
PATIENCE = 0.2  # s
_DECLINE = 1_000_000_000  # nanos between two answers that assignments are off


class AssignmentDesk:
    """Takes assignments, one after the other, for `engine`. `counts`: done, refused_<reason>, error.

    `key` None: all are refused as "off". Raises `EdgeError` if the file holds no key.
    """

    def __init__(self, key: Path | None, gateway: str, engine: Engine, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self._gateway, self._engine, self._clock = gateway, engine, clock
        self._queue: queue.Queue[bytes] = queue.Queue(WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._declined: int | None = None
        self._enabled = key is not None
        if key is not None:
            self._key = read_public_key(key)

    def start(self) -> None:
        if self._enabled and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="assignments", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """What waits is sent again by the centre."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def receive(self, payload: bytes, retained: bool) -> None:
        """From the link's thread, whatever came."""
        if not self._enabled:
            self._decline(payload, retained)
        elif retained:
            self._count_refused(AssignmentRefusedError("retained", "a retained assignment: nobody knows how old it is"))
        else:
            try:
                self._queue.put_nowait(payload)
            except queue.Full:
                self._count_refused(AssignmentRefusedError("busy", f"{WAITING} assignments are waiting"))

    def _decline(self, payload: bytes, retained: bool) -> None:
        """That they are off, to who has sent one. Nobody can be known here without a key: once a second at most."""
        refusal = AssignmentRefusedError("off", "assignments are off: see [assignments] enabled")
        self._count_refused(refusal)
        now = self._clock.monotonic()
        if retained or (self._declined is not None and now - self._declined < _DECLINE):
            return
        try:
            fields = load(payload[: DEFAULT.json], "an assignment")
            if fields.get("gateway") != self._gateway:
                return
            answer = bodies.Ack(fields["id"], "refused", fields["asset"], None, str(refusal), None, self._clock.utc())
            message = _message(answer)
        except (WireError, ValueError, TypeError, KeyError):
            return
        self._declined = now
        self._engine.call(lambda work: work.messages.append(message))

    # The desk's own thread.

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._handle(self._queue.get(timeout=PATIENCE))
            except queue.Empty:
                continue
            except Exception:
                self.counts["error"] += 1
                log.exception("an assignment could not be handled")

    def _handle(self, payload: bytes) -> None:
        try:
            assignment = verify(self._key, payload, self._gateway, self._clock.utc())
        except AssignmentRefusedError as refusal:
            self._count_refused(refusal)
            return
        self._in_engine(lambda work: self.take(assignment, work))

    def _in_engine(self, function: Callable[[Work], None]) -> None:
        """Called between two rounds; returns when that is done, so that the engine never has a heap of them."""
        done = threading.Event()

        def call(work: Work) -> None:
            try:
                function(work)
            except Exception:
                self.counts["error"] += 1
                log.exception("an assignment could not be taken")
            finally:
                done.set()

        self._engine.call(call)
        while not (done.wait(PATIENCE) or self._stop.is_set()):
            pass

    # The engine's thread.

    def take(self, assignment: Assignment, work: Work) -> None:
        """Take one that is authentic, or refuse it; the answer goes up with the entry."""
        try:
            name, twins = self._engine.find(assignment.asset)
            if twins is None:
                raise AssignmentRefusedError("asset", f"{assignment.asset} is not in machines.csv here")
            effect, note = decide(twins, assignment)
            if effect is not None:
                self._engine.assign(name, effect, work)
        except AssignmentRefusedError as refusal:
            self._count_refused(refusal)
            self._answer(assignment, "refused", str(refusal), work)
            return
        self.counts["done"] += 1
        if effect is not None:
            log.info("assignment %s: %s", assignment.id, _told(assignment, effect.state is not None))
        self._answer(assignment, "done", note, work)

    def _answer(self, assignment: Assignment, status: str, reason: str | None, work: Work) -> None:
        now = self._clock.utc()
        short = None if reason is None else reason[:1000]
        work.messages.append(_message(bodies.Ack(assignment.id, status, assignment.asset, None, short, None, now)))
        work.urgent = True

    def _count_refused(self, refusal: AssignmentRefusedError) -> None:
        self.counts[f"refused_{refusal.reason}"] += 1
        log.warning("an assignment is refused, %s", refusal)


def _message(answer: bodies.Ack) -> Outgoing:
    return Outgoing("ack", Lane.ALARM, answer.asset, answer.t, answer.t, bodies.pack(answer))


def _told(assignment: Assignment, resumes: bool) -> str:
    told = [f"{assignment.asset} under term {assignment.term}"]
    if assignment.settings is not None:
        told.append(f"settings of version {assignment.settings.version}")
    if resumes and assignment.state is not None:
        told.append(f"its twin goes on after observation {assignment.state.number} of term {assignment.state.term}")
    return ", ".join(told)
