"""A simulator that runs in a thread, and the source that its own TOML makes."""

import argparse
import asyncio
import contextlib
import sys
import threading

from edge_runtime.clock import SystemClock
from edge_runtime.decode import decode_strict
from edge_runtime.simulate.player import play
from edge_runtime.sources.loop import LoopThread
from edge_runtime.sources.replay.recording import Recording

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = """\
asset,time,flow,speed,age,event
P-1,2026-01-03T10:00:00Z,1.5,100,1,0
P-2,2026-01-03T10:00:00Z,2.5,,,0
P-1,2026-01-03T10:00:01Z,1.75,101,2,1
P-2,2026-01-03T10:00:01Z,,201,,0
"""


def options_of(**changes):
    options = {"speed": 1e6, "loop": False, "keep_times": False, "unit": "s"}
    return argparse.Namespace(**(options | changes))


@contextlib.contextmanager
def serving(simulator, recording=None, begin=None, **options):
    """`begin`: an event of the test's that starts playing; None: at once."""
    loop, ready = LoopThread("simulator under test"), threading.Event()

    async def main():
        await simulator.start()
        ready.set()
        try:
            while begin is not None and not begin.is_set():
                await asyncio.sleep(0.01)
            if recording is not None:
                await play(recording, options_of(**options), simulator.show)
            await asyncio.Event().wait()
        finally:
            await simulator.stop()

    loop.start(main)
    try:
        assert ready.wait(60)
        yield loop
    finally:
        loop.stop(30)


def table(tmp_path, text=TABLE):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return Recording(path)


def source_of(toml, settings_class, source_class, folder, **changes):
    """As gateway.toml with this text makes it."""
    (given,) = tomllib.loads(toml)["source"]
    del given["type"]
    return source_class(decode_strict(settings_class, given | changes, "source", folder), SystemClock())
