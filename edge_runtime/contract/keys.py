"""Business keys: what a message is about, whichever way and however often it came. Unique in the centre's database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from edge_runtime.contract.bodies import Alarm
from edge_runtime.contract.rows import Observations, Prognoses, States, Summaries
from edge_runtime.contract.wire import Message


class BusinessKey(NamedTuple):
    """`number` of the observation in its `term`. A part of a waveform has kind "waveform/<channel>/<part>"."""

    asset: str
    term: int
    number: int
    kind: str


def business_keys(message: Message) -> Iterator[BusinessKey]:
    """Those of all rows of a message; none for events and answers, which have ids.

    An alarm is told once per observation; a summary is known by the last observation in it.
    """
    body, kind = message.body, message.envelope.kind
    if isinstance(body, Alarm):
        yield BusinessKey(body.asset, body.term, body.number, kind)
    elif isinstance(body, Observations | Prognoses | Summaries | States):
        keys = body.keys
        columns = zip(keys.asset.tolist(), keys.term.tolist(), keys.number.tolist(), strict=True)
        for asset, term, number in columns:
            yield BusinessKey(keys.assets[asset], term, number, kind)
    elif message.envelope.part is not None and message.envelope.asset is not None:
        part = message.envelope.part
        kind = f"{kind}/{part.channel}/{part.part}"
        yield BusinessKey(message.envelope.asset, part.term, part.number, kind)
