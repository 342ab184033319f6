"""An inbox that keeps what comes, and waiting without guessing how long."""

import time

from edge_runtime.sources.source import Arrival


class ListInbox:
    """`room`: how many arrivals it takes before it says it is full; None = no limit."""

    def __init__(self, room=None):
        self.got = []
        self.room = room

    def put(self, arrival):
        if self.room is not None and len(self.got) >= self.room:
            return False
        self.got.append(arrival)
        return True

    @property
    def arrivals(self):
        return [item for item in self.got if isinstance(item, Arrival)]

    def values(self, asset, channel):
        return [a.values[channel] for a in self.arrivals if a.asset == asset and channel in a.values]


def wait_until(condition, seconds=20.0, what="what the test waits for"):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.01)
    return found


def free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
