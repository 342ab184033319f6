"""Writing one node of an OPC UA server, and reading it back."""

from __future__ import annotations

import math
from typing import Any

from edge_runtime.sources.opcua.library import OpcuaError, UnsureError, load_ua, node_ids
from edge_runtime.sources.opcua.subscription import read_nodes
from edge_runtime.sources.opcua.values import status_name

_WHOLE = {"SByte": 8, "Byte": 8, "Int16": 16, "UInt16": 16, "Int32": 32, "UInt32": 32, "Int64": 64, "UInt64": 64}


async def write(client: Any, node: str, value: float) -> float:
    """The value read back after writing `value` in the node's own type; `OpcuaError` and asyncua's errors."""
    ua = load_ua()
    asked = ua.WriteParameters()
    # The value alone: most servers refuse to be told a status or a time.
    data = ua.DataValue(await convert(client, node, value), None)
    (known,) = await node_ids(client, [node])
    asked.NodesToWrite = [_write_value(known, data)]
    try:
        (status,) = await client.uaclient.write(asked)
    except Exception as error:
        raise UnsureError from error
    if not status.is_good():
        raise OpcuaError(f"the server refuses to write {node} ({status_name(int(status.value))})")
    try:
        return await read(client, node)
    except Exception as error:
        raise UnsureError from error


async def convert(client: Any, node: str, value: float) -> Any:
    """`value` in the node's own type, whole numbers rounded to the nearest; `OpcuaError` if it does not fit."""
    (known,) = await node_ids(client, [node])
    kind = await client.get_node(known).read_data_type_as_variant_type()
    return load_ua().Variant(_converted(node, value, kind.name), kind)


async def read(client: Any, node: str) -> float:
    """The node's number; `OpcuaError` if it has none."""
    (data,) = await read_nodes(client, [node])
    code = int(data.StatusCode.value) if data.StatusCode is not None else 0
    if code >> 30 >= 2:
        raise OpcuaError(f"{node} cannot be read back ({status_name(code)})")
    if data.Value is None or not isinstance(data.Value.Value, int | float):
        raise OpcuaError(f"{node} holds no number")
    return float(data.Value.Value)


def _write_value(node: Any, data: Any) -> Any:
    ua = load_ua()
    wanted = ua.WriteValue()
    wanted.NodeId = node
    wanted.AttributeId = ua.AttributeIds.Value
    wanted.Value = data
    return wanted


def _converted(node: str, value: float, kind: str) -> float | int | bool:
    if kind not in (*_WHOLE, "Boolean", "Float", "Double"):
        raise OpcuaError(f"{node} holds no number but a {kind}")
    if not math.isfinite(value):
        raise OpcuaError(f"{value:g} is no set-point")
    if kind == "Boolean":
        if value not in (0, 1):
            raise OpcuaError("a Boolean takes 0 or 1")
        return bool(value)
    if kind not in _WHOLE:
        return float(value)
    whole, bits = round(value), _WHOLE[kind]
    signed = not kind.startswith(("U", "Byte"))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= whole <= high:
        raise OpcuaError(f"{value:g} does not fit into a {kind}")
    return whole
