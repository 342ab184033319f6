"""What all tables share: their collection, names of constraints, and types that are the same on both databases."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Json = JSON().with_variant(JSONB(), "postgresql")
Id = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only what is called INTEGER

# SQLite: rows lie in the order of the primary key, in its tree, so that what is read together lies together.
CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}


def nanos(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def whole(name: str, *, nullable: bool = False) -> Column[int]:
    """Up to 64 bits."""
    return Column(name, BigInteger, nullable=nullable)
