import threading
import time

import numpy as np

from edge_runtime.gateway.inbox import GatewayInbox
from edge_runtime.sources.source import Arrival, WaveformArrival


def arrival(i, asset="m"):
    return Arrival(asset, i, {}, None)


def waveform(samples):
    return WaveformArrival("m", "shake", 0, np.zeros((1, samples), np.float32), None)


def test_what_goes_in_comes_out_in_order():
    inbox = GatewayInbox()
    assert all(inbox.put(arrival(i)) for i in range(5))
    assert [a.time for a in inbox.take(3)] == [0, 1, 2]
    assert inbox.wait(0), "the rest still waits"
    assert [a.time for a in inbox.take(3)] == [3, 4]
    assert not inbox.wait(0)
    assert inbox.take(3) == []


def test_a_full_inbox_says_no_until_something_is_taken():
    inbox = GatewayInbox(most_arrivals=2)
    assert [inbox.put(arrival(i)) for i in range(4)] == [True, True, False, False]
    assert inbox.overflow == 2
    inbox.take(1)
    assert inbox.put(arrival(9))
    assert [a.time for a in inbox.take(9)] == [1, 9]


def test_waveforms_are_bounded_by_their_bytes():
    inbox = GatewayInbox(most_waveform_bytes=100)
    assert inbox.put(waveform(1000)), "one may come in whatever its size"
    assert not inbox.put(waveform(1))
    assert inbox.put(arrival(0)), "readings still may"
    inbox.take(2)
    assert [inbox.put(waveform(10)) for _ in range(4)] == [True, True, False, False]
    inbox.take(9)
    assert inbox.put(waveform(25))


def test_closing_and_waking_end_a_wait():
    inbox = GatewayInbox()
    threading.Timer(0.01, inbox.wake).start()
    assert inbox.wait(20)
    inbox.take(1)
    inbox.close()
    assert inbox.wait(20)
    assert not inbox.put(arrival(0))


def test_nothing_is_lost_or_shuffled_between_threads():
    inbox, sources, each = GatewayInbox(most_arrivals=50), 4, 2000
    refused = []

    def come_in(name):
        for i in range(each):
            while not inbox.put(arrival(i, name)):
                refused.append(1)
                time.sleep(0)

    threads = [threading.Thread(target=come_in, args=(str(n),)) for n in range(sources)]
    for thread in threads:
        thread.start()
    seen = {str(n): [] for n in range(sources)}
    deadline = time.monotonic() + 20
    while sum(map(len, seen.values())) < sources * each and time.monotonic() < deadline:
        inbox.wait(1)
        for a in inbox.take(30):
            seen[a.asset].append(a.time)
    for thread in threads:
        thread.join(20)
    assert all(times == list(range(each)) for times in seen.values())
    assert len(inbox) == 0
