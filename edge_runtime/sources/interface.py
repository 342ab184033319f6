"""TCP connections that leave by a named network interface: what is meant for the machines' network stays there."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable

_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


def is_loopback(host: str) -> bool:
    """Whether `host` is this computer, by its spelling alone: names are not looked up.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("127.example.com")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def connect(
    host: str,
    port: int,
    timeout: float,
    interface: str | None = None,
    source_address: str | None = None,
    made: Callable[[socket.socket], None] = lambda _: None,
) -> tuple[socket.socket, str]:
    """A connected socket, and in words how it is bound. `OSError` says what to do.

    `made` is told of each socket before it connects: another thread may shut it down to end the wait.
    """
    last: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        made_socket = socket.socket(family, kind, protocol)
        try:
            made_socket.settimeout(timeout)
            bound = _bind(made_socket, interface, source_address)
            made(made_socket)
            made_socket.connect(address)
            made_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made_socket, bound
        except OSError as error:
            made_socket.close()
            last = error
    raise last or OSError(f"{host} has no address")


def _bind(made: socket.socket, interface: str | None, source_address: str | None) -> str:
    if interface is None:
        if source_address is None:
            return ""
        try:
            made.bind((source_address, 0))
        except OSError as error:
            raise OSError(
                error.errno, f"source_address {source_address} is not an address of this computer ({error.strerror})"
            ) from error
        return f"from {source_address}"
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        return f"by interface {interface}"
    except PermissionError as error:
        address = interface_address(interface)
        if address is None or made.family != socket.AF_INET:
            raise PermissionError(
                error.errno,
                f"interface {interface}: binding to it needs CAP_NET_RAW (in the systemd unit: "
                "AmbientCapabilities=CAP_NET_RAW), and it has no IPv4 address to bind to instead",
            ) from error
        made.bind((address, 0))
        return f"from {address}, the address of {interface} (CAP_NET_RAW would bind to the interface itself)"
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise OSError(errno.ENODEV, f"there is no interface {interface}: this computer has {known}") from error


def interface_address(interface: str) -> str | None:
    """The first IPv4 address of an interface of this computer."""
    import fcntl  # of Linux alone, as are gateways

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
