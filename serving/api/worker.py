"""One worker from its start on: it answers from the beginning, at first perhaps only why it cannot.

A worker that raised would be started again for ever, and its port would be open with nobody behind it.
"""

from __future__ import annotations

import asyncio
import gc
import logging

from sqlalchemy.exc import SQLAlchemyError

from serving.api.centre import Centre
from serving.api.front import Front, Unready
from serving.api.handlers import Handlers
from serving.api.machines import machine_routes
from serving.errors import AwayError, ServingError

AGAIN = 3.0  # seconds
log = logging.getLogger(__name__)


class Worker:
    """`front` answers. What is missing is looked for `every` so many seconds, and told in the log once, in one line."""

    def __init__(self, every: float = AGAIN) -> None:
        self.centre: Centre | None = None
        self.handlers: Handlers | None = None
        self._every = every
        self._front: Front | None = None
        self._problem: str | None = None
        self._away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def front(self) -> Front | Unready:
        if self._front is None or self._problem is not None:
            return Unready(self._problem or "the service is starting: try again")
        return self._front

    async def open(self) -> None:
        """Never raises because of settings or database: `front` says what is wrong with them."""
        if not await self._try():
            self._task = asyncio.create_task(self._try_again())

    async def close(self) -> None:
        self._front, task = None, self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.centre is not None:
            await self.centre.close()
            self.centre = None

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                if await self._try():
                    return
            except Exception:
                log.exception("what is missing could not be looked for; once more in a moment")

    async def _try(self) -> bool:
        """Whether nothing is missing any more."""
        said = self._problem
        try:
            if self._front is None:
                self._build()
            assert self.centre is not None
            await asyncio.get_running_loop().run_in_executor(None, self.centre.check_database)
        except AwayError as error:  # what needs no database is answered all the same
            if not self._away:
                log.warning("%s", error)
            self._problem, self._away = None, True
            return False
        except (ServingError, SQLAlchemyError, OSError) as error:
            self._problem = _told(error)
            if self._problem != said:
                log.error("not ready: %s", self._problem)
            return False
        if said is not None or self._away:
            log.warning("ready")
        self._problem = None
        return True

    def _build(self) -> None:
        centre = Centre.from_environment()
        centre.open()
        self.centre = centre
        self.handlers = Handlers(centre, machine_routes(centre))
        self._front = Front(self.handlers.routes(), centre.auth, centre.settings.limits, centre.metrics)
        # What is here now stays: the collector need not walk through it again and again (p99 falls by two thirds).
        gc.collect()
        gc.freeze()


def _told(error: Exception) -> str:
    """In one line; of SQLAlchemy what the database said, without the statement."""
    text = str(error)
    if isinstance(error, SQLAlchemyError):
        text = (
            f"the database cannot be used: {getattr(error, 'orig', None) or error}; check its url, and who may use it"
        )
    return " ".join(text.split())
