"""asyncua, an optional extra that takes a second to import: the functions that need it import it.

Its parts come untyped: versions 1.1.5 to 2.1 differ in their annotations, not in what is used of them here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from edge_runtime.errors import EdgeError

NO_NAMESPACE = 65535


class OpcuaError(Exception):
    """What is wrong with a connection or a node, and how to mend it."""


class UnsureError(OpcuaError):
    """A value was sent to be written, and what its cause says came instead of an answer or of what is read back."""


def require_asyncua() -> None:
    """`EdgeError` if it is missing."""
    if importlib.util.find_spec("asyncua") is None:
        raise EdgeError("OPC UA needs asyncua: pip install 'overhaul[opcua]'")


def load_ua() -> Any:
    """The module with the standard's types."""
    from asyncua import ua

    return ua


def load_client() -> Any:
    """The class of clients."""
    from asyncua.client.client import Client

    return Client


def load_policies() -> Any:
    """The module with the security policies, `SecurityPolicy` and their name."""
    from asyncua.crypto import security_policies

    return security_policies


def load_properties() -> Any:
    """The class that wraps a certificate or key: content, "pem" or "der"."""
    from asyncua.crypto.uacrypto import CertProperties

    return CertProperties


async def node_ids(client: Any, nodes: Sequence[str]) -> list[Any]:
    """NodeIds as this server counts its namespaces now: after a restart a namespace may have another index.

    One whose namespace is named ("nsu=") and not there becomes one that no server has.
    """
    node_id = load_ua().NodeId
    named = any(node.startswith("nsu=") for node in nodes)
    indices = {uri: index for index, uri in enumerate(await client.get_namespace_array())} if named else {}
    found = []
    for node in nodes:
        space, _, rest = node.partition(";")
        if space.startswith("nsu="):
            node = f"ns={indices.get(space[4:], NO_NAMESPACE)};{rest}"
        found.append(node_id.from_string(node))
    return found
