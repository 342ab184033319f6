import asyncio
import threading
import time

import pytest

from edge_runtime.sources.loop import LoopThread


async def for_ever():
    await asyncio.sleep(3600)


async def answer(value):
    await asyncio.sleep(0)
    return value


def test_calls_are_answered_until_it_stops():
    loop = LoopThread("loop under test")
    loop.start(for_ever)
    assert loop.call(answer(7), 5) == 7
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        loop.call(for_ever(), 0.01)
    loop.stop()
    with pytest.raises(ConnectionError):
        loop.call(answer(7), 5)
    loop.stop()
    assert "loop under test" not in [thread.name for thread in threading.enumerate()]


def test_a_stop_ends_calls_that_wait_and_tasks_that_were_forgotten():
    ended = []

    async def forgotten():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("forgotten")

    async def main():
        tasks.append(asyncio.create_task(forgotten()))
        await asyncio.sleep(3600)

    tasks, errors = [], []
    loop = LoopThread("loop under test")
    loop.start(main)

    def call():
        try:
            loop.call(for_ever(), 30)
        except ConnectionError as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    deadline = time.monotonic() + 10
    while not tasks and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    loop.stop()
    caller.join(10)
    assert ended == ["forgotten"]
    assert len(errors) == 1


def test_it_can_be_started_again_and_survives_an_error_of_its_coroutine():
    async def broken():
        raise ValueError("of the test")

    loop = LoopThread("loop under test")
    loop.start(broken)
    loop.stop()
    loop.start(for_ever)
    assert loop.call(answer(1), 5) == 1
    loop.stop()
