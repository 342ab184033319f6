"""How much one request and one key may take: counted before anything is decoded."""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict

import numpy as np

from serving.api.settings import LimitSettings
from serving.errors import RequestError

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_KEYS = 10_000  # buckets that are remembered


def unpack(data: bytes, encoding: str, limits: LimitSettings) -> bytes:
    """The body without its Content-Encoding, never more than `limits.unpacked` bytes of it in memory."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "deflate"):
        raise RequestError(
            "encoding",
            f"Content-Encoding {encoding[:40]!r} is not read here: send gzip, deflate or none",
            "Content-Encoding",
        )
    decoder = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        plain = decoder.decompress(data, limits.unpacked + 1)
    except zlib.error as error:
        raise RequestError("malformed", f"the body is no {encoding} ({error}): send it as it is declared") from None
    if len(plain) > limits.unpacked:
        raise too_large("unpacked", limits.unpacked)
    if not decoder.eof or decoder.unused_data:
        raise RequestError(
            "malformed", f"the {encoding} of the body is cut off, or goes on after its end: send it whole"
        )
    return plain


def too_large(what: str, most: int) -> RequestError:
    return RequestError("size", f"the body is over {most:,} bytes {what}: send it in several requests")


def check_depth(data: bytes, most: int) -> None:
    """JSON nests no deeper than `most`. Brackets in texts do not count."""
    if data.count(b"[") + data.count(b"{") <= most:
        return
    marks = np.frombuffer(_TEXT.sub(b"", data), np.uint8) if b'"' in data else np.frombuffer(data, np.uint8)
    step = ((marks == 91) | (marks == 123)).astype(np.int8) - ((marks == 93) | (marks == 125)).astype(np.int8)
    if int(np.cumsum(step, dtype=np.int32).max(initial=0)) > most:
        raise RequestError("size", f"the body nests deeper than {most} levels: no form needs that")


class Rate:
    """Token buckets: `rate` requests a second for each key, `burst` at once. Per worker."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key → (tokens, at)

    def take(self, key: str, now: float) -> None:
        """`now` in monotonic seconds; `RequestError` when the bucket is empty."""
        tokens, at = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        if tokens < 1.0:
            self._buckets[key] = (tokens, now)
            wait = (1.0 - tokens) / self._rate
            raise RequestError(
                "rate",
                f"more than {self._rate:g} requests a second with this key: wait, or send many in one",
                after=wait,
            )
        self._buckets[key] = (tokens - 1.0, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _KEYS:
            self._buckets.popitem(last=False)
