"""The gateway put together, started and stopped: what `overhaul-edge run` runs.

    start    folder → bundles → journal → engine, where it left off → link → sources → ready
    stop     sources are told to wait → what came in is committed and acknowledged → states, checkpoint → link

Whatever ends it, it goes on from the journal.
"""

from __future__ import annotations

import gc
import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_runtime.clock import Clock, SystemClock
from edge_runtime.contract import bodies
from edge_runtime.contract.message import Outgoing
from edge_runtime.contract.request import Request
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.gateway import report
from edge_runtime.gateway.assignments import AssignmentDesk
from edge_runtime.gateway.commands import CommandDesk
from edge_runtime.gateway.config import GatewayConfig
from edge_runtime.gateway.engine import SECOND, Engine, EngineSettings
from edge_runtime.gateway.history import observed_at
from edge_runtime.gateway.http import StatusServer
from edge_runtime.gateway.inbox import GatewayInbox
from edge_runtime.gateway.machines import Machines, read_machines
from edge_runtime.gateway.recovery import Resumed, resume
from edge_runtime.gateway.signals import Signals
from edge_runtime.gateway.sources import make_source
from edge_runtime.gateway.status import GatewayStatus
from edge_runtime.gateway.streams import Streams, StreamSettings
from edge_runtime.gateway.swap import Swapper
from edge_runtime.gateway.synchronised import Synchronised
from edge_runtime.gateway.systemd import Notifier
from edge_runtime.gateway.twins import Twins
from edge_runtime.gateway.watch import Watch, WatchSettings
from edge_runtime.gateway.writable import unwritable
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.work import Work
from edge_runtime.manifest import Contract
from edge_runtime.providers import load_best
from edge_runtime.settings import read_settings
from edge_runtime.sources.source import Source
from edge_runtime.upstream.link import Link

JOURNAL, DEAD_LETTERS, COMMANDS = "journal.db", "dead-letters.db", "commands.db"
LOOK_AT_BUNDLES = 10.0  # seconds
LAST_COMMIT = 10.0  # seconds: when the disk takes nothing, what is not committed comes again; systemd waits for 30
ENDS = {signal.SIGTERM, signal.SIGINT}

log = logging.getLogger(__name__)


class Gateway:
    """One gateway as `config` describes it. `sources` in place of the configured ones, and `clock`, are for tests.

    `start`, then `wait` until something ends it, then `stop`. `failure` is what made going on impossible, if anything.
    """

    def __init__(
        self,
        config: GatewayConfig,
        clock: Clock | None = None,
        sources: Sequence[Source] | None = None,
        *,
        synced: Callable[[], bool] | None = None,
        watch: WatchSettings | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.sources = sources if sources is not None else self._make_sources()
        self.synced = synced or Synchronised(self.clock)
        self.failure: BaseException | None = None
        self.resumed = Resumed()
        self._watch_settings = watch or WatchSettings()
        self._over = threading.Event()
        self._undo: list[Callable[[], object]] = []  # how to stop what runs, the last first

    # ------------------------------------------------------------------ start and stop

    def start(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Everything runs when this returns; `EdgeError` if it cannot, and nothing does.

        `progress` is told now and then how many entries of the journal have been replayed.
        """
        try:
            self._start(progress)
        except BaseException:
            self._unwind()
            raise

    def _start(self, progress: Callable[[int], None]) -> None:
        settings = self.config.gateway
        self.started = self.clock.utc()
        self._began = self.clock.monotonic()
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"[gateway] data = {settings.data} cannot be made ({error.strerror}): name a folder of this user's own"
            ) from error
        twins = self._load_twins()
        self.journal = Journal(settings.data / JOURNAL, self.config.journal, self.config.spool, self.clock)
        recovered = self.journal.open()
        self._undo.append(self.journal.close)
        self._epoch = recovered.epoch
        self.link = self._make_link(recovered.epoch, settings.data / DEAD_LETTERS)
        self._undo.append(self.link.stop)
        self.watch = Watch(
            self._watch_settings,
            self.clock,
            settings.data,
            self.sources,
            self.journal,
            lambda: self.link.healthy,
            self.synced,
        )
        self.inbox = GatewayInbox()
        self.engine = Engine(
            twins,
            {name: self._streams(name, kind) for name, kind in twins.items()},
            self.inbox,
            self.journal,
            self.clock,
            EngineSettings(
                settings.gather,
                self.config.journal.checkpoint_every,
                self.config.journal.replay,
                self.config.link.state_every,
            ),
            healthy=lambda: self.link.healthy,
            clock_synced=self.synced,
            watch=self.watch,
        )
        self.commands = CommandDesk(
            self.config.commands,
            settings.id,
            self.sources,
            self._term,
            self.engine.hand_over,
            settings.data / COMMANDS,
            self.clock,
        )
        self.assignments = AssignmentDesk(self.config.assignment_key, settings.id, self.engine, self.clock)
        self.resumed = resume(self.engine, recovered, progress)
        self._say_how_it_resumed(recovered.moved_aside, recovered.other_version)
        self.journal.start(self.link.committed)
        self.engine.step()  # the checkpoint that says which machine is which row, before anything comes in
        self._open_doors()
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again and again

    def _open_doors(self) -> None:
        """The engine first, then whatever talks to it."""
        self.swapper = Swapper(
            self.engine, self.journal, self.config.bundles, self._make_twins, self.note, LOOK_AT_BUNDLES
        )
        self._thread = threading.Thread(target=self._run_engine, name="engine", daemon=True)
        self._thread.start()
        self._undo.append(self._stop_engine)
        self.http: StatusServer | None = None
        if self.config.http.enabled:
            self.http = StatusServer(self.config.http, self.status)
            self.http.start()
            self._undo.append(self.http.stop)
        self.link.start()
        self.commands.start()
        self._undo.append(self.commands.stop)
        self.assignments.start()
        self._undo.append(self.assignments.stop)
        self.swapper.start()
        self._undo.append(self.swapper.stop)
        for source in self.sources:
            source.start(self.inbox)
            self._undo.append(source.stop)
        self._undo.append(self._let_nothing_in)

    def stop(self) -> None:
        """Commit, acknowledge and checkpoint what came in, then end everything; `start` in a new Gateway goes on."""
        self._over.set()
        self._unwind()

    def wait(self, seconds: float | None = None) -> bool:
        """Until the gateway cannot go on, at most for `seconds`; whether it is over."""
        return self._over.wait(seconds)

    def swap(self, *names: str) -> None:
        """Look for other bundles of these classes, of all if none is named, now."""
        self.swapper.request(*names)

    @property
    def idle(self) -> float:
        """Seconds since the engine's loop last went round."""
        return (self.clock.monotonic() - self.engine.moved) / SECOND

    def note(self, code: str, detail: str, severity: str = "info") -> None:
        """Tell the centre an event that ends by itself."""
        message = self.watch.note(code, detail, severity)
        self.engine.call(lambda work: work.messages.append(message))

    def _run_engine(self) -> None:
        try:
            self.engine.run()
        except BaseException as error:
            self.failure = error
            log.critical("the gateway cannot go on: %s", error, exc_info=not isinstance(error, EdgeError))
        self._over.set()

    def _let_nothing_in(self) -> None:
        """What came in is committed and acknowledged while the sources are still connected."""
        self.inbox.close()
        self._stop_engine()

    def _stop_engine(self) -> None:
        if self._thread.is_alive():
            self.swapper.stop()
            self.engine.stop()
            self._thread.join()
            if self.failure is None:
                self.journal.flush(LAST_COMMIT)

    def _unwind(self) -> None:
        while self._undo:
            undo = self._undo.pop()
            try:
                undo()
            except Exception:
                log.exception("%r failed while the gateway was stopping", undo)

    # ------------------------------------------------------------------ parts

    def _make_sources(self) -> list[Source]:
        return [make_source(source, self.config.gateway.id, self.clock) for source in self.config.sources]

    def _load_twins(self) -> dict[str, Twins]:
        settings = self.config.gateway
        loaded = {
            name: load_best(folder, settings.threads, settings.provider) for name, folder in self.config.bundles.items()
        }
        contracts = {name: bundle.contract for name, (bundle, _) in loaded.items()}
        machines = read_machines(settings.machines, contracts)
        self._warn_of_commands(contracts, machines)
        ahead = int(settings.max_ahead * SECOND)
        return {
            name: Twins(bundle, machines[name], self.clock, ahead, passed_over)
            for name, (bundle, passed_over) in loaded.items()
        }

    def _warn_of_commands(self, contracts: Mapping[str, Contract], machines: Mapping[str, Machines]) -> None:
        """What is allowed and cannot be written is found before somebody needs it; the twins run all the same."""
        commands, table = self.config.commands, self.config.gateway.machines
        if commands.enabled:
            class_of = {asset: name for name, listed in machines.items() for asset in listed.assets}
            for problem in unwritable(commands.allow, self.config.sources, contracts, class_of, table):
                log.warning("[commands] allow cannot work: %s", problem)

    def _make_twins(self, name: str) -> tuple[Twins, Streams]:
        """Of the bundle that lies in the folder of class `name` now, for the machines that run."""
        settings, running = self.config.gateway, self.engine.twins[name].machines
        bundle, passed_over = load_best(self.config.bundles[name], settings.threads, settings.provider)
        own = read_settings(settings.machines, bundle.contract, running.assets, ("class", "term"))
        machines = Machines(running.assets, running.term, own)
        twins = Twins(bundle, machines, self.clock, int(settings.max_ahead * SECOND), passed_over)
        twins.keep_assigned(self.engine.twins[name].assigned)  # while it is warmed up, too
        return twins, self._streams(name, twins)

    def _streams(self, name: str, twins: Twins) -> Streams:
        link = self.config.link
        settings = StreamSettings(link.blocks, link.summaries, link.waveforms, link.largest_body, link.maximum_packet)
        return Streams(
            twins,
            settings,
            lambda position: observed_at(self.journal, name, self.engine.layouts[name], twins, position),
        )

    def _make_link(self, epoch: int, dead_letters: Path) -> Link:
        settings = self.config.gateway
        return Link(
            self.config.link,
            settings.site,
            settings.id,
            epoch,
            self.journal,
            self.clock,
            dead_letters,
            describe=self._describe,
            respool=self._respool,
            on_command=lambda payload, retained: self.commands.receive(payload, retained),
            on_request=self._on_request,
            on_assignment=lambda payload, retained: self.assignments.receive(payload, retained),
        )

    def _term(self, asset: str) -> int | None:
        """Under which this gateway has a machine, None if it has it not."""
        for twins in self.engine.twins.values():
            row = twins.fleet.index.get(asset)
            if row is not None:
                return int(twins.machines.term[row])
        return None

    def _respool(self, messages: list[Outgoing]) -> bool:
        """In the link's thread, which must not wait: it would send no alarm, and hear no acknowledgement."""
        return self.engine.hand_over(Work(messages=messages, urgent=True, replaces=True), timeout=0)

    def _on_request(self, request: Request) -> None:
        """The centre asks for states."""
        if request.what == "state":
            self.engine.call(lambda work: self.engine.send_states(work, request.assets))

    def _say_how_it_resumed(self, moved_aside: Path | None, other_version: bool) -> None:
        resumed = self.resumed
        told = [f"{resumed.observations} observations replayed"]
        if resumed.anew:
            told = ["there was no checkpoint: all twins start anew"]
        if moved_aside is not None:
            why = "written by another version of this software" if other_version else "damaged"
            told.append(f"the journal was {why} and lies in {moved_aside.name}; raise the terms in machines.csv")
        told += [f"class {name} goes on with another bundle: {taken}" for name, taken in resumed.taken_over.items()]
        detail = "; ".join(told)
        log.info("the gateway has started: %s", detail)
        self.note("restarted", detail, "info" if moved_aside is None else "error")

    # ------------------------------------------------------------------ what it tells

    def status(self) -> GatewayStatus:
        """How everything fares now; for any thread."""
        journal, link = self.journal.status(), self.link.status()
        sources = tuple(source.status() for source in self.sources)
        http = self.http.insecure if self.http is not None else None
        return GatewayStatus(
            gateway=self.config.gateway.id,
            site=self.config.gateway.site,
            version=report.version(),
            started=self.started,
            time=self.clock.utc(),
            clock_synced=self.synced(),
            engine=report.engine_status(self.engine, self.clock),
            journal=report.journal_status(journal),
            bundles=tuple(
                report.bundle_status(
                    name,
                    twins,
                    self.watch.silent_after(twins.bundle.contract.time),
                    self.clock,
                    self.swapper.problem(name),
                )
                for name, twins in self.engine.twins.items()
            ),
            sources=sources,
            spool=report.lane_statuses(self.journal.backlog(), journal),
            link=link,
            commands=dict(self.commands.counts),
            assignments=dict(self.assignments.counts),
            dropped=report.dropped(self.engine, journal, self.link.dead_letters),
            insecure=report.weaknesses([source.insecure for source in sources], link, http),
        )

    def _describe(self, state: str) -> bodies.Status:
        """What stands retained at the centre's broker."""
        uptime = (self.clock.monotonic() - self._began) / SECOND
        sources = [source.status().insecure for source in self.sources]
        return bodies.Status(
            state=state,
            gateway=self.config.gateway.id,
            epoch=self._epoch,
            t=self.clock.utc(),
            version=report.version(),
            bundles={name: twins.model_id for name, twins in self.engine.twins.items()},
            insecure=report.weaknesses(sources, self.link.status(), self.http.insecure if self.http else None),
            clock="synced" if self.synced() else "free",
            heartbeat=report.heartbeat(
                self.engine, uptime, self.journal.backlog(), self.journal.status().bytes_written
            ),
        )


def run(config: GatewayConfig) -> None:
    """Run the gateway until SIGTERM or SIGINT; SIGHUP has it look for other bundles. Raises what made it fail."""
    notifier, gateway = Notifier(), Gateway(config)
    with Signals((*ENDS, signal.SIGHUP)) as signals:
        gateway.start(lambda _: _ask_for_time(notifier))
        notifier.ready("running")
        patience = min(1.0, (notifier.watchdog or 2.0) / 2)
        try:
            while not gateway.wait(0):
                if gateway.idle <= config.http.stalled_after:
                    notifier.alive()
                came = signals.wait(patience)
                if came & ENDS:
                    log.info("stopping: %s", ", ".join(sorted(one.name for one in came & ENDS)))
                    break
                if came:
                    log.info("looking for other bundles")
                    gateway.swap()
        finally:
            notifier.stopping()
            gateway.stop()
            if gateway.failure is None:
                log.info("stopped: what was accepted is on the disk")
    if gateway.failure is not None:
        raise gateway.failure


def _ask_for_time(notifier: Notifier) -> None:
    notifier.extend(60)
