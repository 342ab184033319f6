"""A gateway without machines: a real journal and a real link."""

from pathlib import Path

from edge_runtime.clock import SystemClock
from edge_runtime.contract import bodies
from edge_runtime.contract.message import JSON, Lane, Outgoing
from edge_runtime.journal.journal import Journal
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.work import Work
from edge_runtime.sources.backoff import Backoff
from edge_runtime.upstream.link import Link, LinkSettings

SITE, GATEWAY = "north", "gw-7"
QUICK = {"ack_timeout": 0.5, "heartbeat_every": 60, "keepalive": 5}


class Station:
    """`spool` commits messages; what is committed goes to the centre as soon as `start` was called."""

    def __init__(self, folder: Path, url: str, on_command=None, on_request=None, **settings):
        folder.mkdir(exist_ok=True)
        self.folder, self.url, self.settings = folder, url, QUICK | settings
        self.callbacks = {"on_command": on_command, "on_request": on_request}
        self.open()

    def open(self):
        clock = SystemClock()
        self.journal = Journal(self.folder / "journal.db", JournalSettings(commit_after=0.02), SpoolSettings(), clock)
        self.epoch = self.journal.open().epoch
        self.link = Link(
            LinkSettings(url=self.url, **self.settings),
            SITE,
            GATEWAY,
            self.epoch,
            self.journal,
            clock,
            self.folder / "dead.db",
            respool=lambda messages: self.journal.submit(Work(messages=messages, urgent=True, replaces=True), 0),
            **self.callbacks,
        )
        self.link._connection._backoff = Backoff(clock, first=0.05, most=0.5)
        self.journal.start(self.link.committed)

    def start(self):
        self.link.start()
        return self

    def restart(self):
        """As after an orderly stop."""
        self.close()
        self.open()
        return self.start()

    def close(self):
        self.link.stop()
        self.journal.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def spool(self, *messages):
        assert self.journal.submit(Work(messages=list(messages), urgent=True))
        assert self.journal.flush()

    def backlog(self):
        return sum(count for count, *_ in self.journal.backlog().values())


def alarm(number, asset="m1", term=0):
    """An alarm at observation `number`."""
    body = bodies.Alarm(f"{asset}-{number}", "raised", 2, 0, number, asset, term, number, number)
    return Outgoing("alarm", Lane.ALARM, asset, number, number, bodies.pack(body), JSON)


def event(number, lane=Lane.LIVE, detail=""):
    body = bodies.Event(f"e{number}", "disk", "noted", "info", number, detail=detail)
    return Outgoing("event", lane, None, number, number, bodies.pack(body), JSON)
