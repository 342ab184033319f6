"""What the owner of a machine is to be told about it: one row a machine, the newest."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table

from serving.database.tables.metadata import metadata, nanos, whole

# `status`: waiting, sent, done, refused. A hub that has taken it has it until `claimed`; then it is due again.
assignments = Table(
    "assignments",
    metadata,
    Column("asset", Integer, ForeignKey("assets.id"), primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False, unique=True),  # a new one with each change of what is to be told
    Column("gateway", Integer, ForeignKey("gateways.id"), nullable=False),
    whole("term"),
    Column("settings_version", Integer, nullable=False),  # 0: nothing was ever set
    Column("resume", Boolean, nullable=False),  # with the state that its twin goes on from
    nanos("at"),
    Column("status", String(16), nullable=False),
    nanos("claimed"),
    Column("claims", Integer, nullable=False),
    nanos("sent_at", nullable=True),
    nanos("answered_at", nullable=True),
    Column("sent", String, nullable=False),  # which state went with it, and what that lacks, for people
    Column("reason", String, nullable=False),  # of the gateway
    Index(None, "status", "claimed"),
)
