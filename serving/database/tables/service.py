"""What the prediction service keeps: twins that the centre owns, contracts of their bundles, keys of its callers."""

from sqlalchemy import Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, SmallInteger, String, Table

from serving.database.tables.metadata import CLUSTERED, Json, metadata, nanos, whole

# One row a twin of the centre: `state` f32[S] after observation (term, number), of the bundle `model`.
twins = Table(
    "twins",
    metadata,
    Column("asset", Integer, primary_key=True, autoincrement=False),
    whole("term"),
    whole("number"),
    nanos("t"),
    Column("model", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    nanos("at"),
    postgresql_with={"fillfactor": 50},
)

# What a state of a model means, so that the next bundle can take it over when the old one is gone.
contracts = Table(
    "contracts",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("body", Json, nullable=False),
)

# A key's secret is 256 random bits: sha256 of it is as good as a slow hash. Roles and plants are lists, "*" is all.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("name", String, nullable=False),
    Column("roles", Json, nullable=False),
    Column("plants", Json, nullable=False),
    nanos("at"),
    Column("by", String, nullable=False),
    nanos("expires", nullable=True),
    nanos("revoked", nullable=True),
)

# What was answered under an Idempotency-Key: asked again, it is answered again.
idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", String(80), nullable=False),
    Column("key", String(128), nullable=False),
    Column("request", String(64), nullable=False),  # its sha256
    Column("status", SmallInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    nanos("at"),
    PrimaryKeyConstraint("caller", "key"),
    Index(None, "at"),
    **CLUSTERED,
)
