"""Snapshots of waveforms as measured, packed as they travelled; and parts of those that are not complete yet."""

from sqlalchemy import Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, String, Table

from serving.database.tables.metadata import metadata, nanos, whole


def _key() -> list[Column[int] | Column[str]]:
    return [
        Column("asset", Integer, nullable=False),
        whole("term"),
        whole("number"),
        Column("channel", String(64), nullable=False),
    ]


# body null: parts are missing. `contract.packing.unpack(body, encoding, 4 * axes * samples)` gives f32[axes, samples].
waveforms = Table(
    "waveforms",
    metadata,
    *_key(),
    nanos("t"),
    nanos("t_rx"),
    nanos("at"),  # of the first part
    Column("model", Integer, nullable=False),
    Column("axes", Integer, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("encoding", String(32), nullable=False),
    Column("parts", Integer, nullable=False),
    Column("size", Integer, nullable=False),  # packed
    Column("sha256", String(64), nullable=False),  # unpacked
    Column("body", LargeBinary),
    PrimaryKeyConstraint("asset", "term", "number", "channel"),
    Index(None, "at"),
)

waveform_parts = Table(
    "waveform_parts",
    metadata,
    *_key(),
    Column("part", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("asset", "term", "number", "channel", "part"),
)
