"""The registry: gateways, machines, who owns their twins, where they stand in the plant, and how they are set."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from serving.database.tables.metadata import Id, Json, metadata, nanos, whole

# What stands in a gateway's status is null until it has told it.
gateways = Table(
    "gateways",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("site", String(64), nullable=False),
    nanos("at"),  # first heard of
    Column("state", String(16)),  # online, offline
    whole("epoch", nullable=True),
    nanos("t", nullable=True),  # of the status, the gateway's clock
    nanos("heard_at", nullable=True),  # of the status, ours
    Column("version", String),
    Column("bundles", Json),  # class → model_id
    Column("insecure", Json),
    Column("clock", String(16)),
    Column("heartbeat", Json),
)

# `gateway` null: the centre owns the twin. `term` counts its owners up; older terms are refused.
assets = Table(
    "assets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("asset_class", String(64), nullable=False),
    Column("gateway", Integer, ForeignKey("gateways.id"), index=True),
    whole("term"),
    Column("tier", String(16), nullable=False),  # full: a twin; basic: monitoring only
    nanos("at"),
    CheckConstraint("tier IN ('full', 'basic')", name="tier"),
)

ownerships = Table(
    "ownerships",
    metadata,
    Column("asset", Integer, ForeignKey("assets.id"), nullable=False),
    whole("term"),
    Column("gateway", Integer, ForeignKey("gateways.id")),
    nanos("since"),
    Column("by", String, nullable=False),
    Column("reason", String, nullable=False),
    PrimaryKeyConstraint("asset", "term"),
)

# plant → line → machine → component. A node may be an asset; `criticality`: what its failure does to its parent.
nodes = Table(
    "nodes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", Integer, ForeignKey("nodes.id"), index=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(64), nullable=False),  # unique below its parent
    Column("title", String, nullable=False),
    Column("criticality", String(1), nullable=False),
    Column("asset", Integer, ForeignKey("assets.id"), unique=True),
    CheckConstraint("kind IN ('plant', 'line', 'machine', 'component')", name="kind"),
    CheckConstraint("criticality IN ('A', 'B', 'C')", name="criticality"),
    CheckConstraint("(parent IS NULL) = (kind = 'plant')", name="root"),
    UniqueConstraint("parent", "name"),
)
Index(
    "ix_nodes_plant",
    nodes.c.name,
    unique=True,
    sqlite_where=nodes.c.parent.is_(None),
    postgresql_where=nodes.c.parent.is_(None),
)

# Append only: the highest version counts.
asset_settings = Table(
    "asset_settings",
    metadata,
    Column("asset", Integer, ForeignKey("assets.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("values", Json, nullable=False),  # name → number; what is not named is the class's default
    nanos("at"),
    Column("by", String, nullable=False),
    Column("reason", String, nullable=False),
    PrimaryKeyConstraint("asset", "version"),
)

# Who did what to whom, never changed.
audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    nanos("at"),
    Column("actor", String, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Json, nullable=False),
    Index(None, "subject", "id"),
)

# One row. Changed with everything that decides what a hub takes; hubs hold it shared while they write.
registry_version = Table(
    "registry_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    whole("version"),
)
