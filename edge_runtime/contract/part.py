"""What the envelope of one part of a waveform says: which part of what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.packing import ENCODINGS

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
MOST_PARTS = 4096


@dataclass(frozen=True)
class Part:
    """Part `part` (from 0) of `parts`; put together and unpacked they are float32 little-endian of `shape` [axes, N].

    `sha256` is of the unpacked bytes; `size` the packed length of all parts. `term` and `number` are those of the
    observation that took the snapshot in, so that (asset, term, number, channel) finds its features.
    """

    id: str
    part: int
    parts: int
    size: int
    sha256: str
    shape: tuple[int, int]
    channel: str
    term: int
    number: int
    encoding: str
    dtype: str = "F32"

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id {self.id[:40]!r}: expected up to 200 letters, digits, '_', '.' or '-'")
        check_identifier("channel", self.channel)
        if not 0 <= self.part < self.parts <= MOST_PARTS:
            raise ValueError(
                f"part {self.part} of {self.parts}: parts count from 0, and there are at most {MOST_PARTS}"
            )
        if not all(0 < side < 2**31 for side in self.shape) or not 0 < self.size <= self.bytes:
            raise ValueError(f"shape {self.shape}, {self.size} bytes: a waveform has axes and samples")
        if self.dtype != "F32" or self.encoding not in ENCODINGS:
            raise ValueError(f"dtype {self.dtype[:20]!r}, encoding {self.encoding[:20]!r}: not known here")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 is not 64 hexadecimal digits")
        if not (self.term >= 0 and self.number >= 0):
            raise ValueError(f"term {self.term}, number {self.number}: they count up from 0")

    @property
    def bytes(self) -> int:
        """Unpacked, of the whole."""
        return 4 * self.shape[0] * self.shape[1]

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "shape": list(self.shape)}
