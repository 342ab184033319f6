"""All tables of the centre."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}
_WEEK = 7 * 86_400 * 1_000_000_000


def upgrade() -> None:
    op.create_table(
        "acks",
        sa.Column("gateway", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("ranges", _json(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "epoch", "lane", name=op.f("pk_acks")),
        **_CLUSTERED,
    )
    op.create_table(
        "alarm_changes",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("previous", sa.SmallInteger(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("prognosis", _json(), nullable=False),
        sa.Column("contributions", _json(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "term", "number", name=op.f("pk_alarm_changes")),
    )
    op.create_table(
        "alarms",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("cleared", sa.BigInteger(), nullable=True),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("prognosis", _json(), nullable=False),
        sa.Column("contributions", _json(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "id", name=op.f("pk_alarms")),
    )
    op.create_index(op.f("ix_alarms_level_asset"), "alarms", ["level", "asset"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", _id(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", _json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_subject_id"), "audit", ["subject", "id"], unique=False)
    op.create_table(
        "command_answers",
        sa.Column("gateway", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=True),
        sa.Column("channel", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "id", "status", name=op.f("pk_command_answers")),
    )
    op.create_table(
        "counts",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "name", name=op.f("pk_counts")),
        **_CLUSTERED,
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", _id(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("sha256", "reason", name=op.f("uq_dead_letters_sha256_reason")),
    )
    op.create_index(op.f("ix_dead_letters_last_at"), "dead_letters", ["last_at"], unique=False)
    op.create_table(
        "events",
        sa.Column("place", _id(), nullable=False),
        sa.Column("gateway", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=True),
        sa.Column("source", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("counts", _json(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_events")),
        sa.UniqueConstraint("gateway", "id", "state", "t", name=op.f("uq_events_gateway_id_state_t")),
    )
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)
    op.create_table(
        "gateways",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("t", sa.BigInteger(), nullable=True),
        sa.Column("heard_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("bundles", _json(), nullable=True),
        sa.Column("insecure", _json(), nullable=True),
        sa.Column("clock", sa.String(length=16), nullable=True),
        sa.Column("heartbeat", _json(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("name", name=op.f("uq_gateways_name")),
    )
    op.create_table(
        "latest",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("layout", sa.Integer(), nullable=False),
        sa.Column("health", sa.REAL(), nullable=True),
        sa.Column("anomaly_score", sa.REAL(), nullable=True),
        sa.Column("failure_probability", sa.REAL(), nullable=True),
        sa.Column("rul", sa.REAL(), nullable=True),
        sa.Column("rul_lower", sa.REAL(), nullable=True),
        sa.Column("rul_upper", sa.REAL(), nullable=True),
        sa.Column("warming_up", sa.REAL(), nullable=True),
        sa.Column("unfamiliar", sa.REAL(), nullable=True),
        sa.Column("alarm", sa.SmallInteger(), nullable=True),
        sa.Column("rest", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", name=op.f("pk_latest")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "layouts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("asset_class", sa.String(length=64), nullable=False),
        sa.Column("body", _json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layouts")),
        sa.UniqueConstraint("sha256", name=op.f("uq_layouts_sha256")),
    )
    op.create_table(
        "messages",
        sa.Column("gateway", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("backfill", sa.Boolean(), nullable=False),
        sa.Column("synced", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "epoch", "lane", "seq", name=op.f("pk_messages")),
        **_CLUSTERED,
    )
    op.create_index(op.f("ix_messages_at"), "messages", ["at"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.String(length=128), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("model_id", name=op.f("uq_models_model_id")),
    )
    op.create_table(
        "observations",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("layout", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "t", "term", "number", name=op.f("pk_observations")),
        sa.UniqueConstraint("asset", "term", "number", name=op.f("uq_observations_asset_term_number")),
        **_CLUSTERED,
    )
    op.create_table(
        "prognoses",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("layout", sa.Integer(), nullable=False),
        sa.Column("health", sa.REAL(), nullable=True),
        sa.Column("anomaly_score", sa.REAL(), nullable=True),
        sa.Column("failure_probability", sa.REAL(), nullable=True),
        sa.Column("rul", sa.REAL(), nullable=True),
        sa.Column("rul_lower", sa.REAL(), nullable=True),
        sa.Column("rul_upper", sa.REAL(), nullable=True),
        sa.Column("warming_up", sa.REAL(), nullable=True),
        sa.Column("unfamiliar", sa.REAL(), nullable=True),
        sa.Column("alarm", sa.SmallInteger(), nullable=True),
        sa.Column("rest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "t", "term", "number", name=op.f("pk_prognoses")),
        sa.UniqueConstraint("asset", "term", "number", name=op.f("uq_prognoses_asset_term_number")),
        **_CLUSTERED,
    )
    op.create_table(
        "registry_version",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_version")),
    )
    op.create_table(
        "states",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("asset_class", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "t", "term", "number", name=op.f("pk_states")),
        sa.UniqueConstraint("asset", "term", "number", name=op.f("uq_states_asset_term_number")),
        **_CLUSTERED,
    )
    op.create_table(
        "summaries",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("layout", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("alarm", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "t", "term", "number", name=op.f("pk_summaries")),
        sa.UniqueConstraint("asset", "term", "number", name=op.f("uq_summaries_asset_term_number")),
        **_CLUSTERED,
    )
    op.create_table(
        "thinned",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "kind", name=op.f("pk_thinned")),
        **_CLUSTERED,
    )
    op.create_table(
        "waveform_features",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "t", "term", "number", "channel", name=op.f("pk_waveform_features")),
        sa.UniqueConstraint(
            "asset", "term", "number", "channel", name=op.f("uq_waveform_features_asset_term_number_channel")
        ),
        **_CLUSTERED,
    )
    op.create_table(
        "waveform_parts",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "term", "number", "channel", "part", name=op.f("pk_waveform_parts")),
    )
    op.create_table(
        "waveforms",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("t_rx", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Integer(), nullable=False),
        sa.Column("axes", sa.Integer(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("encoding", sa.String(length=32), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("asset", "term", "number", "channel", name=op.f("pk_waveforms")),
    )
    op.create_index(op.f("ix_waveforms_at"), "waveforms", ["at"], unique=False)
    op.create_table(
        "assets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("asset_class", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.Integer(), nullable=True),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("tier IN ('full', 'basic')", name=op.f("ck_assets_tier")),
        sa.ForeignKeyConstraint(["gateway"], ["gateways.id"], name=op.f("fk_assets_gateway")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assets")),
        sa.UniqueConstraint("name", name=op.f("uq_assets_name")),
    )
    op.create_index(op.f("ix_assets_gateway"), "assets", ["gateway"], unique=False)
    op.create_table(
        "asset_settings",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("values", _json(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["asset"], ["assets.id"], name=op.f("fk_asset_settings_asset")),
        sa.PrimaryKeyConstraint("asset", "version", name=op.f("pk_asset_settings")),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("criticality", sa.String(length=1), nullable=False),
        sa.Column("asset", sa.Integer(), nullable=True),
        sa.CheckConstraint("(parent IS NULL) = (kind = 'plant')", name=op.f("ck_nodes_root")),
        sa.CheckConstraint("criticality IN ('A', 'B', 'C')", name=op.f("ck_nodes_criticality")),
        sa.CheckConstraint("kind IN ('plant', 'line', 'machine', 'component')", name=op.f("ck_nodes_kind")),
        sa.ForeignKeyConstraint(["asset"], ["assets.id"], name=op.f("fk_nodes_asset")),
        sa.ForeignKeyConstraint(["parent"], ["nodes.id"], name=op.f("fk_nodes_parent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        sa.UniqueConstraint("asset", name=op.f("uq_nodes_asset")),
        sa.UniqueConstraint("parent", "name", name=op.f("uq_nodes_parent_name")),
    )
    op.create_index(op.f("ix_nodes_parent"), "nodes", ["parent"], unique=False)
    op.create_index(
        "ix_nodes_plant",
        "nodes",
        ["name"],
        unique=True,
        sqlite_where=sa.text("parent IS NULL"),
        postgresql_where=sa.text("parent IS NULL"),
    )
    op.create_table(
        "ownerships",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("gateway", sa.Integer(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["asset"], ["assets.id"], name=op.f("fk_ownerships_asset")),
        sa.ForeignKeyConstraint(["gateway"], ["gateways.id"], name=op.f("fk_ownerships_gateway")),
        sa.PrimaryKeyConstraint("asset", "term", name=op.f("pk_ownerships")),
    )
    op.bulk_insert(sa.table("registry_version", sa.column("id"), sa.column("version")), [{"id": 1, "version": 1}])
    if _timescale():
        _hypertables()


def downgrade() -> None:
    for name in reversed(_TABLES):
        op.drop_table(name)


_TABLES = (
    "acks",
    "alarm_changes",
    "alarms",
    "audit",
    "command_answers",
    "counts",
    "dead_letters",
    "events",
    "gateways",
    "latest",
    "layouts",
    "messages",
    "models",
    "observations",
    "prognoses",
    "registry_version",
    "states",
    "summaries",
    "thinned",
    "waveform_features",
    "waveform_parts",
    "waveforms",
    "assets",
    "asset_settings",
    "nodes",
    "ownerships",
)


def _json() -> sa.JSON:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _id() -> sa.BigInteger:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _timescale() -> bool:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return False
    found = connection.execute(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))
    return found.first() is not None


def _hypertables() -> None:
    """Where TimescaleDB is installed, history is cut into weeks. Not tested: the servers at hand do not have it.

    It wants the time in every unique key: the business key is then (asset, term, number, t).
    """
    for name in ("observations", "prognoses"):
        op.drop_constraint(f"uq_{name}_asset_term_number", name)
        op.create_index(f"ix_{name}_asset_term_number", name, ["asset", "term", "number"])
        op.execute(f"SELECT create_hypertable('{name}', 't', chunk_time_interval => {_WEEK})")
