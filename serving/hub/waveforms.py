"""Waveforms that come in parts: each is stored as it comes, so that it can be acknowledged; the last one completes.

Parts may come in any order, through several hubs, hours apart. What never gets complete is forgotten by the retention.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, select, update

from edge_runtime.contract.packing import unpack
from edge_runtime.contract.part import Part
from edge_runtime.errors import WireError
from serving.database import bulk
from serving.database.tables import waveform_parts, waveforms
from serving.hub import collect
from serving.hub.reading import Dead


def store(connection: Connection, incoming: collect.Part, model: int, at: int) -> str | Dead:
    """One part: "part", "complete" with this one, "repeated", or why it cannot be used.

    The row of the waveform stays locked until the end of the transaction: of two hubs that bring the last two parts,
    the second one sees both.
    """
    part = incoming.envelope.part
    assert part is not None
    key = {"asset": incoming.asset, "term": part.term, "number": part.number, "channel": part.channel}
    row = key | {"t": incoming.envelope.t, "t_rx": incoming.envelope.t_rx, "at": at, "model": model} | _described(part)
    bulk.insert(connection, waveforms, {name: [value] for name, value in row.items()})
    known = connection.execute(select(waveforms).where(*_is(waveforms, key)).with_for_update()).one()
    if any(getattr(known, name) != value for name, value in _described(part).items()):
        return Dead("mismatch", f"part {part.part} of {part.id} does not belong to the parts that came before")
    new = {**key, "part": part.part, "body": incoming.data}
    if known.body is not None or not bulk.insert(connection, waveform_parts, {n: [v] for n, v in new.items()}):
        return "repeated"
    return _complete(connection, key, part, known)


def _complete(connection: Connection, key: dict[str, Any], part: Part, known: Row[Any]) -> str | Dead:
    query = select(waveform_parts.c.part).where(*_is(waveform_parts, key))
    if len(connection.execute(query).all()) < known.parts:
        return "part"
    pieces = select(waveform_parts.c.body).where(*_is(waveform_parts, key)).order_by(waveform_parts.c.part)
    body = b"".join(connection.execute(pieces).scalars())
    connection.execute(delete(waveform_parts).where(*_is(waveform_parts, key)))
    try:
        if len(body) != part.size:
            raise WireError("packing", f"its parts have {len(body)} bytes, not {part.size}")
        if hashlib.sha256(unpack(body, part.encoding, part.bytes)).hexdigest() != part.sha256:
            raise WireError("checksum", "its checksum is another one")
    except WireError as error:
        connection.execute(delete(waveforms).where(*_is(waveforms, key)))
        return Dead(error.reason, f"waveform {part.id}: {error.detail}")
    connection.execute(update(waveforms).where(*_is(waveforms, key)).values(body=body))
    return "complete"


def _described(part: Part) -> dict[str, Any]:
    """What all parts of a waveform say alike."""
    axes, samples = part.shape
    return {
        "axes": axes,
        "samples": samples,
        "encoding": part.encoding,
        "parts": part.parts,
        "size": part.size,
        "sha256": part.sha256,
    }


def _is(table: Table, key: dict[str, Any]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]
