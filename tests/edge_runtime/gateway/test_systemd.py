import os
import socket

import pytest

from edge_runtime.gateway.systemd import Notifier


@pytest.fixture
def systemd(tmp_path):
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_states_and_status_arrive_as_datagrams(systemd):
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    assert notifier.enabled
    assert notifier.ready("2 bundles,\n 40 machines")
    assert notifier.alive()
    assert notifier.status("all well")
    assert notifier.extend(1.5)
    assert notifier.stopping()
    assert [systemd.recv(1000).decode() for _ in range(5)] == [
        "READY=1\nSTATUS=2 bundles, 40 machines",
        "WATCHDOG=1",
        "STATUS=all well",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1",
    ]


def test_the_abstract_name_space_is_known():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"overhaul-test-{os.getpid()}"
        listener.bind("\0" + name)
        listener.settimeout(5)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).alive()
        assert listener.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "bad\0name", "/" + "x" * 500])
def test_without_a_socket_nothing_happens(address):
    notifier = Notifier({"NOTIFY_SOCKET": address} if address else {})
    assert notifier.enabled == bool(address)
    assert not notifier.ready()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_interval_of_the_watchdog(environment, seconds):
    assert Notifier(environment).watchdog == seconds
