"""Tables of columns as bytes: the safetensors format (huggingface.co/docs/safetensors), which any reader of it reads.

`uint64 LE length | JSON header | the columns, one after the other`. On the way they are packed, see `packing`.

>>> import numpy as np
>>> data = write_table({"speed": np.array([1480.0, 1475.0], np.float32)}, {"assets": "p1 p2"})
>>> columns, notes = read_table(data)
>>> columns["speed"].tolist(), notes
([1480.0, 1475.0], {'assets': 'p1 p2'})
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.text import load, short
from edge_runtime.errors import WireError

DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U32": "<u4", "U16": "<u2", "U8": "|u1"}
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_NOTES = "__metadata__"
_LARGEST = 1 << 26  # elements of a column


def write_table(columns: Mapping[str, Array], notes: Mapping[str, str]) -> bytes:
    """`columns` by name and `notes` in the header; `ValueError` for a dtype the format of blocks does not have."""
    header: dict[str, Any] = {_NOTES: dict(notes)}
    pieces, place = [], 0
    # The widest first, so that every column starts where its type wants to.
    for name, column in sorted(columns.items(), key=lambda item: -item[1].dtype.itemsize):
        dtype = _NAMES.get(column.dtype)
        if dtype is None or name == _NOTES:
            raise ValueError(f"column '{name}' is {column.dtype}: a block has {', '.join(DTYPES)}")
        header[name] = {"dtype": dtype, "shape": column.shape, "data_offsets": (place, place + column.nbytes)}
        pieces.append(np.ascontiguousarray(column, DTYPES[dtype]).tobytes())
        place += column.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((struct.pack("<Q", len(text)), text, *pieces))


def read_table(data: bytes, limits: Limits = DEFAULT) -> tuple[dict[str, Array], dict[str, str]]:
    """Columns (read-only views of `data`) and notes; `WireError` "block" for anything that is not exactly a table."""
    if len(data) < 8:
        raise _wrong("it ends before its header")
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        raise _wrong(f"its header would have {length} bytes")
    header = load(data[8 : 8 + length], "the header of a block")
    notes = header.pop(_NOTES, {})
    if not (isinstance(notes, dict) and all(isinstance(value, str) for value in notes.values())):
        raise _wrong("its notes are no texts")
    if len(header) > limits.columns:
        raise _wrong(f"it has {len(header)} columns, {limits.columns} are read")
    start = 8 + length
    places = {name: _place(name, entry, len(data) - start) for name, entry in header.items()}
    end, columns = 0, {}
    for name, (dtype, shape, first, last) in sorted(places.items(), key=lambda item: item[1][2:]):
        if first != end:
            raise _wrong(f"column '{short(name)}' starts at {first}, the one before ends at {end}")
        end = last
        columns[name] = np.frombuffer(data, dtype, math.prod(shape), start + first).reshape(shape)
    if end != len(data) - start:
        raise _wrong(f"its columns end at {end}, its data at {len(data) - start}")
    return columns, notes


def _place(name: str, entry: Any, most: int) -> tuple[np.dtype[Any], list[int], int, int]:
    """Type, shape, first and last byte of a column as its header entry says, once it makes sense."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in DTYPES:
        raise _wrong(f"column '{short(name)}' has no type that is read")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    # The sides beside a 0 count too: NumPy multiplies them, and so may a reader.
    if not (_counts(shape, _LARGEST) and len(shape) <= 3 and math.prod(side or 1 for side in shape) <= _LARGEST):
        raise _wrong(f"column '{short(name)}' has no shape that is read")
    if not (_counts(offsets, most) and len(offsets) == 2):
        raise _wrong(f"column '{short(name)}' lies outside the data")
    dtype = np.dtype(DTYPES[entry["dtype"]])
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise _wrong(f"column '{short(name)}' of shape {shape} has {offsets[1] - offsets[0]} bytes")
    return dtype, shape, offsets[0], offsets[1]


def _counts(values: Any, most: int) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= most for value in values)


def _wrong(detail: str) -> WireError:
    return WireError("block", f"this is no table: {detail}")
