"""Who has acknowledged which alarm."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "acknowledgements",
        sa.Column("asset", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "id", name=op.f("pk_acknowledgements")),
    )
    op.create_index(op.f("ix_alarms_at_asset_id"), "alarms", ["at", "asset", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_alarms_at_asset_id"), "alarms")
    op.drop_table("acknowledgements")
