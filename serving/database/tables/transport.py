"""What came over the wire: transport keys, acknowledgements, what could not be used, and counts."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from serving.database.tables.metadata import CLUSTERED, Id, Json, metadata, nanos, whole

# One row a message that was taken, whatever became of its rows. `lane` as in the contract's `Lane`.
messages = Table(
    "messages",
    metadata,
    Column("gateway", Integer, nullable=False),
    whole("epoch"),
    Column("lane", SmallInteger, nullable=False),
    whole("seq"),
    Column("kind", String(16), nullable=False),
    nanos("at"),
    nanos("t_rx"),
    Column("backfill", Boolean, nullable=False),
    Column("synced", Boolean, nullable=False),  # the gateway's clock
    Column("rows", Integer, nullable=False),  # in it
    Column("bytes", Integer, nullable=False),  # on the wire
    PrimaryKeyConstraint("gateway", "epoch", "lane", "seq"),
    Index(None, "at"),
    **CLUSTERED,
)

# What has been committed of one spool: all up to `upto`, and the `ranges` [[first, last], …] above it.
acks = Table(
    "acks",
    metadata,
    Column("gateway", Integer, nullable=False),
    whole("epoch"),
    Column("lane", SmallInteger, nullable=False),
    whole("upto"),
    Column("ranges", Json, nullable=False),
    nanos("at"),
    PrimaryKeyConstraint("gateway", "epoch", "lane"),
    **CLUSTERED,
)

# What could not be used, whole, for people to look at and programs to try again; the same bytes again are counted.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", String(64), nullable=False),  # of topic and payload
    Column("reason", String(32), nullable=False),
    Column("detail", String, nullable=False),
    Column("gateway", String(64), nullable=False),  # as the topic says, "" if it says none
    Column("topic", String, nullable=False),
    Column("content", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),  # of the payload as it came; what is larger than kept is cut
    nanos("at"),
    nanos("last_at"),
    Column("times", BigInteger, nullable=False),
    UniqueConstraint("sha256", "reason"),
    Index(None, "last_at"),
)

# gateway "": of the hub itself.
counts = Table(
    "counts",
    metadata,
    Column("gateway", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    whole("value"),
    PrimaryKeyConstraint("gateway", "name"),
    **CLUSTERED,
)
