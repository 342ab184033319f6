"""Set-points that people have asked for, and how they fared. Answers as they came are in `command_answers`."""

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, SmallInteger, String, Table

from serving.database.tables.metadata import Id, metadata, nanos, whole

# `status` follows `serving.commands.status`. `expires`: until then it may be approved; once it is queued, carried out.
# A hub that has taken it has it until `claimed`, and `claims` counts that: at 0 no gateway can have it.
commands = Table(
    "commands",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("asset", Integer, ForeignKey("assets.id"), nullable=False),
    whole("term"),
    Column("gateway", Integer, ForeignKey("gateways.id"), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("value", Double, nullable=False),
    Column("unit", String(64), nullable=False),
    Column("reason", String, nullable=False),
    Column("by", String, nullable=False),
    nanos("at"),
    Column("ttl", Double, nullable=False),  # seconds, from when it is queued
    nanos("expires"),
    Column("status", String(24), nullable=False),
    Column("approvals", SmallInteger, nullable=False),  # needed
    Column("approved_by", String),
    nanos("approved_at", nullable=True),
    nanos("claimed"),
    Column("claims", Integer, nullable=False),
    nanos("sent_at", nullable=True),
    Column("answer", String(16)),  # the weightiest that has come
    Column("read_back", Double),
    Column("detail", String, nullable=False),  # why it has this status
    nanos("changed"),
    Index(None, "status", "expires"),
    Index(None, "asset", "at"),
)

# Append only: one row a change of status.
command_changes = Table(
    "command_changes",
    metadata,
    Column("place", Id, primary_key=True),
    Column("command", String(64), ForeignKey("commands.id"), nullable=False),
    Column("status", String(24), nullable=False),
    nanos("at"),
    Column("by", String, nullable=False),
    Column("detail", String, nullable=False),
    Index(None, "command", "place"),
)
