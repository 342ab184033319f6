"""What machines measured and what was foretold: one row per observation, prognosis, summary and snapshot of a twin.

Business key (asset, term, number), unique. Rows lie by asset and time: a month of one machine is read in one go.
"""

from sqlalchemy import (
    REAL,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from serving.database.tables.metadata import CLUSTERED, Json, metadata, nanos, whole

models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", String(128), nullable=False, unique=True),
    nanos("at"),
)

# How the bytes of a row are to be read; see `serving.database.layouts`.
layouts = Table(
    "layouts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("asset_class", String(64), nullable=False),
    Column("body", Json, nullable=False),
)


def _keys() -> list[Column[int]]:
    return [
        Column("asset", Integer, nullable=False),
        nanos("t"),
        whole("term"),
        whole("number"),
        nanos("t_rx"),
        Column("model", Integer, nullable=False),
    ]


# What every prognosis has, as columns; NULL where the graph gave NaN. Infinite where a life reaches beyond the cap.
OUTPUTS = (
    "health",
    "anomaly_score",
    "failure_probability",
    "rul",
    "rul_lower",
    "rul_upper",
    "warming_up",
    "unfamiliar",
)


def _outputs() -> list[Column[float] | Column[int]]:
    return [*(Column(name, REAL) for name in OUTPUTS), Column("alarm", SmallInteger)]


# body: readings f32[C], event, age; little-endian.
observations = Table(
    "observations",
    metadata,
    *_keys(),
    Column("layout", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("asset", "t", "term", "number"),
    UniqueConstraint("asset", "term", "number"),
    **CLUSTERED,
)

# What the graph made of a snapshot of a waveform: f32[F]. The snapshot itself, if it was kept, is in `waveforms`.
waveform_features = Table(
    "waveform_features",
    metadata,
    Column("asset", Integer, nullable=False),
    whole("term"),
    whole("number"),
    Column("channel", String(64), nullable=False),
    nanos("t"),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("asset", "t", "term", "number", "channel"),
    UniqueConstraint("asset", "term", "number", "channel"),
    **CLUSTERED,
)

# rest: the other outputs, as the layout says.
prognoses = Table(
    "prognoses",
    metadata,
    *_keys(),
    Column("layout", Integer, nullable=False),
    *_outputs(),
    Column("rest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("asset", "t", "term", "number"),
    UniqueConstraint("asset", "term", "number"),
    **CLUSTERED,
)

# The newest prognosis of each machine, by (term, number).
latest = Table(
    "latest",
    metadata,
    *_keys(),
    Column("layout", Integer, nullable=False),
    *_outputs(),
    Column("rest", LargeBinary, nullable=False),
    nanos("at"),
    PrimaryKeyConstraint("asset"),
    postgresql_with={"fillfactor": 50},  # room for the next version of a row beside it
)

# One row a machine and interval [start, end). `t` and number are of its last observation; body as the layout says.
summaries = Table(
    "summaries",
    metadata,
    *_keys(),
    Column("layout", Integer, nullable=False),
    nanos("start"),
    nanos("end"),
    whole("count"),
    whole("alarm"),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("asset", "t", "term", "number"),
    UniqueConstraint("asset", "term", "number"),
    **CLUSTERED,
)

# How far rows of a machine have been thinned, by `serving.database.retention`: all before `t`.
thinned = Table(
    "thinned",
    metadata,
    Column("asset", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    nanos("t"),
    PrimaryKeyConstraint("asset", "kind"),
    **CLUSTERED,
)

# Snapshots of twins: f32[S] after observation `number`, of the bundle `model`.
states = Table(
    "states",
    metadata,
    *_keys(),
    Column("asset_class", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("asset", "t", "term", "number"),
    UniqueConstraint("asset", "term", "number"),
    **CLUSTERED,
)
