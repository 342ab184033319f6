"""Groups of a lane."""

import asyncio
import threading
import time

from serving.predict.lane import Lane


def test_callers_that_ask_again_and_again_end_up_in_one_group():
    """A caller takes a moment until it asks again. Without lingering, two groups would take turns."""
    sizes, everybody = [], threading.Event()

    def work(jobs):
        sizes.append(len(jobs))
        everybody.wait(20)
        time.sleep(0.03)
        return list(jobs)

    async def caller(lane, number):
        for _ in range(12):
            assert await lane.submit(number) == number
            await asyncio.sleep(0.001)

    async def go():
        lane = Lane("test", work)
        first = asyncio.create_task(caller(lane, 0))
        while not sizes:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(caller(lane, number)) for number in range(1, 8)]
        await asyncio.sleep(0)
        everybody.set()
        await asyncio.gather(first, *others)
        await lane.close()

    asyncio.run(go())
    assert sizes == [1, *[8] * 11, 7]


def test_nobody_waits_for_others_on_a_quiet_day(monkeypatch):
    """One after the other: no lingering, whatever the last one took."""
    slept, sleep = [], asyncio.sleep

    async def told(seconds):
        slept.append(seconds)
        await sleep(seconds)

    async def go():
        lane = Lane("test", lambda jobs: [time.sleep(0.02), *jobs][1:])
        for number in range(3):
            assert await lane.submit(number) == number
            await sleep(0.001)
        await lane.close()

    monkeypatch.setattr("serving.predict.lane.asyncio.sleep", told)
    asyncio.run(go())
    assert slept == [0.0, 0.0, 0.0]
