"""A lane: jobs of many requests, run together in one thread. What waits when it becomes free makes the next group."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from serving.errors import RequestError

# Of the time a group took, when others wait already: whom it answered can join them. Else callers that ask again and
# again end up in two groups that take turns, each half as large as it could be (histories: 40% fewer a second).
_LINGER, _LONGEST = 0.2, 0.005  # share, seconds

Job = TypeVar("Job")
Result = TypeVar("Result")


class Lane(Generic[Job, Result]):
    """`work` takes a group of jobs and gives a result, or the exception, for each. It runs in this lane's own thread.

    A group is closed at `most` jobs or `weight` (as `weigh` says, of one or more jobs). When more than `waiting` jobs
    wait, the next is refused. `gather`: seconds that a free lane waits for more; 0 takes those that came at once.
    `grouped` is told how many ran together.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Job]], Sequence[Result | BaseException]],
        *,
        most: int = 256,
        weigh: Callable[[Job], int] = lambda _: 1,
        weight: int = 20_000,
        waiting: int = 2_000,
        gather: float = 0.0,
        grouped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._work, self._weigh, self._grouped = work, weigh, grouped
        self._most, self._weight, self._waiting, self._gather = most, weight, waiting, gather
        self._queue: deque[tuple[Job, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __len__(self) -> int:
        return len(self._queue)

    def submit(self, job: Job) -> asyncio.Future[Result]:
        """The result in the future; cancelling that leaves the others of the group alone."""
        if len(self._queue) >= self._waiting:
            raise RequestError("busy", f"{len(self._queue)} requests wait already: try again in a second", after=1)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((job, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return future

    async def close(self) -> None:
        """What waits is still done."""
        while self._running is not None and not self._running.done():
            await self._running
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        linger = 0.0
        while self._queue:
            await asyncio.sleep(max(self._gather, linger))
            group = self._take()
            if not group:
                continue
            self._grouped(len(group))
            began = loop.time()
            try:
                results: Sequence[Result | BaseException] = await loop.run_in_executor(
                    self._thread, self._work, [job for job, _ in group]
                )
            except Exception as error:  # of `work` itself: told to all, and the lane goes on
                results = [error] * len(group)
            linger = min(_LINGER * (loop.time() - began), _LONGEST)
            for (_, future), result in zip(group, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _take(self) -> list[tuple[Job, asyncio.Future[Result]]]:
        group: list[tuple[Job, asyncio.Future[Result]]] = []
        weight = 0
        while self._queue and len(group) < self._most:
            job, future = self._queue[0]
            weight += self._weigh(job)
            if group and weight > self._weight:
                break
            self._queue.popleft()
            if not future.cancelled():
                group.append((job, future))
        return group
