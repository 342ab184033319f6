"""Bytes made small for the way, and read again without trusting what they claim.

Most of what goes up is float32. Its bytes are put in planes first (all lowest bytes, then all second ones, …), so that
zlib finds the exponents side by side; a 2-D column lies channel by channel for the same reason. Measured with zlib
level 1 on observations, bytes out per byte in: pumps 0.93 row by row, 0.76 so; turbofans 0.43 and 0.29, and faster
(less to deflate). Level 6 gains 1 to 5 % for half the speed.
"""

from __future__ import annotations

import zlib

import numpy as np

from edge_runtime.errors import WireError

RAW, SHUFFLED = "raw", "shuffle4+zlib"
ENCODINGS = (RAW, SHUFFLED)
_PLANES = 4
_LEVEL = 1


def pack(data: bytes) -> bytes:
    """`data` in the encoding "shuffle4+zlib".

    >>> unpack(pack(b"abcdabcdab"), SHUFFLED, 10)
    b'abcdabcdab'
    """
    whole = len(data) // _PLANES * _PLANES
    planes = np.frombuffer(data, np.uint8, whole).reshape(-1, _PLANES).T
    return zlib.compress(planes.tobytes() + data[whole:], _LEVEL)


def unpack(data: bytes, encoding: str, size: int) -> bytes:
    """What was packed into `data`, exactly `size` bytes (bounded by the caller); never unpacks more than that.

    Raises `WireError`: "encoding" for one that is not known, "packing" when the bytes are not what was announced.
    """
    if encoding == RAW:
        if len(data) != size:
            raise WireError("packing", f"{len(data)} bytes came, {size} were announced")
        return data
    if encoding != SHUFFLED:
        raise WireError("encoding", f"{encoding[:40]!r} is not one of {', '.join(ENCODINGS)}")
    packer = zlib.decompressobj()
    try:
        planes = packer.decompress(data, size + 1)  # + 1: 0 would mean no bound
    except zlib.error as error:
        raise WireError("packing", f"zlib says: {error}") from None
    if len(planes) != size or not packer.eof or packer.unused_data:
        raise WireError("packing", f"it does not unpack to the {size} bytes announced")
    whole = size // _PLANES * _PLANES
    return np.frombuffer(planes, np.uint8, whole).reshape(_PLANES, -1).T.tobytes() + planes[whole:]
