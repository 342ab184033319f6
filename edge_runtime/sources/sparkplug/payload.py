"""Sparkplug B payloads, as far as a gateway needs them: protocol buffers with metrics.

The message classes are made here from the field numbers of the Sparkplug specification 3.0, chapter 6.4; members that
are not listed (templates, data sets, files, …) are skipped by protobuf. This module alone needs the extra `sparkplug`.

Reasons of refusal: `too_large`, `not_protobuf`, `too_many_metrics`.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.sources.mqtt.payload import Refusal

MOST_BYTES = 1 << 20
MOST_METRICS = 10_000
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
GOOD = 192  # the property "Quality" of a metric: 0 is bad, 500 stale


class Type(IntEnum):
    """Data types of metrics that a channel can have, and those that commands use."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13


_SIGNED = {Type.INT8: 8, Type.INT16: 16, Type.INT32: 32, Type.INT64: 64}
_UNSIGNED = {Type.UINT8: 8, Type.UINT16: 16, Type.UINT32: 32, Type.UINT64: 64}


@dataclass(frozen=True)
class Metric:
    """`time` and `value` None: not given, or null. `type` 0: as at birth. A number, true or false, or text."""

    name: str | None = None
    alias: int | None = None
    time: int | None = None  # UTC milliseconds
    type: int = 0
    value: Any = None
    is_historical: bool = False
    is_null: bool = False
    quality: int = GOOD


@dataclass(frozen=True)
class Payload:
    """`time` UTC milliseconds; `seq` 0 … 255."""

    time: int | None = None
    seq: int | None = None
    metrics: tuple[Metric, ...] = ()


def require_protobuf() -> None:
    """`EdgeError` if it is missing."""
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.protobuf") is None:
        raise EdgeError("Sparkplug needs protobuf: pip install 'overhaul[sparkplug]'")


@functools.cache
def _payload_class() -> Any:
    """The class of the message Payload, made in a pool of its own: other libraries may define the same one."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug", syntax="proto2")

    def message(title: str, oneof: Sequence[str] = (), /, **fields: tuple[int, str]) -> None:
        made = file.message_type.add(name=title)
        if oneof:
            made.oneof_decl.add(name="value")
        for key, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.rstrip("*")
            added = made.field.add(name=key, number=number)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind[0].isupper():
                added.type, added.type_name = field.TYPE_MESSAGE, f".sparkplug.{kind}"
            else:
                added.type = field.Type.Value(f"TYPE_{kind.upper()}")
            if key in oneof:
                added.oneof_index = 0

    values = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value")
    message("Payload", timestamp=(1, "uint64"), metrics=(2, "Metric*"), seq=(3, "uint64"))
    message(
        "Metric",
        values,
        name=(1, "string"),
        alias=(2, "uint64"),
        timestamp=(3, "uint64"),
        datatype=(4, "uint32"),
        is_historical=(5, "bool"),
        is_null=(7, "bool"),
        properties=(9, "PropertySet"),
        int_value=(10, "uint32"),
        long_value=(11, "uint64"),
        float_value=(12, "float"),
        double_value=(13, "double"),
        boolean_value=(14, "bool"),
        string_value=(15, "string"),
    )
    message("PropertySet", keys=(1, "string*"), values=(2, "PropertyValue*"))
    message("PropertyValue", type=(1, "uint32"), is_null=(2, "bool"), int_value=(3, "uint32"), long_value=(4, "uint64"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


def decode(data: bytes) -> Payload:
    """What stands in a payload; a `Refusal` if it is none."""
    if len(data) > MOST_BYTES:
        raise Refusal("too_large")
    found = _payload_class()()
    try:
        found.ParseFromString(data)
    except Exception:  # DecodeError, which is no ValueError
        raise Refusal("not_protobuf") from None
    if len(found.metrics) > MOST_METRICS:
        raise Refusal("too_many_metrics")
    return Payload(
        found.timestamp if found.HasField("timestamp") else None,
        found.seq if found.HasField("seq") else None,
        tuple(_metric(metric) for metric in found.metrics),
    )


def _metric(metric: Any) -> Metric:
    which = metric.WhichOneof("value")
    return Metric(
        name=metric.name if metric.HasField("name") else None,
        alias=metric.alias if metric.HasField("alias") else None,
        time=metric.timestamp if metric.HasField("timestamp") else None,
        type=metric.datatype,
        value=None if which is None or metric.is_null else getattr(metric, which),
        is_historical=metric.is_historical,
        is_null=metric.is_null,
        quality=_quality(metric.properties) if metric.HasField("properties") else GOOD,
    )


def _quality(properties: Any) -> int:
    for key, value in zip(properties.keys, properties.values, strict=False):
        if key == "Quality":
            return int(value.int_value if value.HasField("int_value") else value.long_value)
    return GOOD


def number(value: Any, type_: int) -> float | int | None:
    """A metric's value as a number, by its type; None if it is text or nothing of the kind.

    Negative numbers travel as two's complement, of the type's own width or of the field's.

    >>> number(0xFFFE, Type.INT16), number(0xFFFFFFFE, Type.INT16), number(True, Type.BOOLEAN), number("on", 12)
    (-2, -2, 1, None)
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return value
    if not isinstance(value, int):
        return None
    if type_ in _SIGNED:
        bits = _SIGNED[Type(type_)]
        magnitude: int = value & ((1 << bits) - 1)
        return magnitude - (1 << bits) if magnitude >> (bits - 1) else magnitude
    return value


def encode(payload: Payload) -> bytes:
    """For commands, and for the edge nodes of simulators."""
    made = _payload_class()()
    if payload.time is not None:
        made.timestamp = payload.time
    if payload.seq is not None:
        made.seq = payload.seq
    for metric in payload.metrics:
        added = made.metrics.add()
        for name, value in (("name", metric.name), ("alias", metric.alias), ("timestamp", metric.time)):
            if value is not None:
                setattr(added, name, value)
        if metric.type:
            added.datatype = metric.type
        if metric.is_historical:
            added.is_historical = True
        if metric.quality != GOOD:
            added.properties.keys.append("Quality")
            added.properties.values.add(type=Type.INT32, int_value=metric.quality)
        if metric.is_null or metric.value is None:
            added.is_null = True
        else:
            _set_value(added, metric)
    return bytes(made.SerializeToString())


def fits(value: float, type_: int) -> bool:
    """Whether a metric of this type can hold this number; for whole numbers, exactly."""
    if type_ == Type.DOUBLE:
        return True
    if type_ == Type.FLOAT:
        return abs(value) <= _LARGEST_FLOAT
    if type_ == Type.BOOLEAN:
        return value in (0, 1)
    if type_ in _SIGNED:
        half: int = 2 ** (_SIGNED[Type(type_)] - 1)
        return value == round(value) and -half <= value < half
    return type_ in _UNSIGNED and value == round(value) and 0 <= value < int(2 ** _UNSIGNED[Type(type_)])


def _set_value(added: Any, metric: Metric) -> None:
    if metric.type == Type.FLOAT:
        added.float_value = metric.value
    elif metric.type == Type.DOUBLE:
        added.double_value = metric.value
    elif metric.type == Type.BOOLEAN:
        added.boolean_value = bool(metric.value)
    elif metric.type in (Type.INT64, Type.UINT64, Type.DATETIME):
        added.long_value = int(metric.value) & (2**64 - 1)
    elif metric.type in (*_SIGNED, *_UNSIGNED):
        added.int_value = int(metric.value) & (2**32 - 1)
    else:
        added.string_value = str(metric.value)
