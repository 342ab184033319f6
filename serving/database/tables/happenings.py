"""What happened: occurrences of alarms and how they changed, events of gateways, answers to commands."""

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from serving.database.tables.metadata import Id, Json, metadata, nanos, whole

# One row an occurrence, as its newest message says. Level 0: cleared. `id` is made by the gateway.
alarms = Table(
    "alarms",
    metadata,
    Column("asset", Integer, nullable=False),
    Column("id", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("level", SmallInteger, nullable=False),
    nanos("since"),  # source time it was raised at
    nanos("cleared", nullable=True),
    nanos("t"),
    whole("term"),
    whole("number"),
    Column("model", Integer, nullable=False),
    Column("prognosis", Json, nullable=False),  # `bodies.Excerpt`
    Column("contributions", Json, nullable=False),  # [{"channel": …, "value": …}, …], the largest first
    Column("simulated", Boolean, nullable=False),
    nanos("at"),
    PrimaryKeyConstraint("asset", "id"),
    Index(None, "level", "asset"),
    Index(None, "at", "asset", "id"),
)

# Who has last said of an alarm that it is seen to, and at which level it was then: one that rises asks again.
acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("asset", Integer, nullable=False),
    Column("id", String(200), nullable=False),
    Column("level", SmallInteger, nullable=False),
    nanos("at"),
    Column("by", String, nullable=False),
    Column("comment", String, nullable=False),
    PrimaryKeyConstraint("asset", "id"),
)

# Every message about an alarm.
alarm_changes = Table(
    "alarm_changes",
    metadata,
    Column("asset", Integer, nullable=False),
    whole("term"),
    whole("number"),
    Column("id", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("previous", SmallInteger, nullable=False),
    nanos("t"),
    Column("prognosis", Json, nullable=False),
    Column("contributions", Json, nullable=False),
    nanos("at"),
    PrimaryKeyConstraint("asset", "term", "number"),
)

# The gateway's own: silent machines, stale sources, a full disk. "cleared" has the id of "raised".
events = Table(
    "events",
    metadata,
    Column("place", Id, primary_key=True),  # in order of arrival
    Column("gateway", Integer, nullable=False),
    Column("id", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    nanos("t"),
    Column("code", String(64), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("asset", String(64)),
    Column("source", String),
    Column("detail", String, nullable=False),
    Column("counts", Json, nullable=False),
    Column("simulated", Boolean, nullable=False),
    nanos("at"),
    UniqueConstraint("gateway", "id", "state", "t"),
    Index(None, "at"),
)

command_answers = Table(
    "command_answers",
    metadata,
    Column("gateway", Integer, nullable=False),
    Column("id", String(200), nullable=False),  # of the command
    Column("status", String(16), nullable=False),
    nanos("t"),
    Column("asset", String(64)),
    Column("channel", String(64)),
    Column("reason", String),
    Column("value", Double),  # read back
    nanos("at"),
    PrimaryKeyConstraint("gateway", "id", "status"),
)
