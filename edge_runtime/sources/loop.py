"""An asyncio loop in a thread of its own, for sources whose protocol library is written for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


class LoopThread:
    """Runs one coroutine until it ends or `stop` cancels it; nothing of it is left after that.

    The loop is the source's own, so whatever task a library has left behind is cancelled with it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._running = threading.Event()

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Returns when the loop runs, which is at once."""
        if self._thread is not None:
            raise RuntimeError(f"{self._name} has been started already: stop it first")
        self._running.clear()
        self._thread = threading.Thread(target=self._run, args=(main,), name=self._name, daemon=True)
        self._thread.start()
        self._running.wait()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run `coroutine` in the loop and wait for it, from any other thread; `TimeoutError` after `timeout` s."""
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise ConnectionError(f"{self._name} does not run")
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # closed in this moment
            coroutine.close()
            raise ConnectionError(f"{self._name} was stopped") from None
        try:
            return future.result(timeout)
        except concurrent.futures.CancelledError:
            raise ConnectionError(f"{self._name} was stopped") from None
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimeoutError(f"no answer within {timeout:g} s") from None

    def stop(self, timeout: float = 10.0) -> None:
        """Cancel the coroutine, let it clean up, join the thread. Harmless if it does not run."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # it has just ended by itself
                _log.debug("%s had ended", self._name)
        thread.join(timeout)
        if thread.is_alive():
            _log.error("%s did not end within %g s", self._name, timeout)

    def _run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            asyncio.run(self._until_cancelled(main))
        except Exception:
            _log.exception("%s ended by an error", self._name)
        finally:
            self._loop = None
            self._running.set()

    async def _until_cancelled(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_told)
        self._task = asyncio.current_task()
        self._loop = loop
        self._running.set()
        try:
            await main()
        except asyncio.CancelledError:
            _log.debug("%s stops", self._name)
        finally:
            self._loop = None
            await cancel_others()


async def cancel_others() -> None:
    """Cancel all other tasks of this loop and wait until they have ended."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _told(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a library's forgotten tasks raise is the lost connection once more: the source has told of that."""
    _log.debug("%s: %r", context.get("message"), context.get("exception"))
