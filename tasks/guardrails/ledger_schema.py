"""Tables of the ledger: the chain, and ordinary rows beside it."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

METADATA = MetaData()
# SQLite makes only INTEGER keys its row id; PostgreSQL's INTEGER ends at two thousand millions.
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

# The chain. Never updated or deleted: triggers refuse it.
ENTRIES = Table(
    "entries",
    METADATA,
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("remediation", String(40), nullable=False),
    Column("run", String(40), nullable=False),
    Column("actor", String(120), nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("signature", String(100), nullable=False),
    Index("entries_by_remediation", "remediation", "seq"),
    Index("entries_by_kind", "kind", "seq"),
    Index("entries_by_run", "run", "seq"),
)

# One row a resource ('target:demo', 'remediation:k3f9'): who may work on it now.
LEASES = Table(
    "leases",
    METADATA,
    Column("resource", String(120), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("remediation", String(40), nullable=False),
    Column("run", String(40), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", String(80), nullable=False),
    Column("expires", Float, nullable=False),
    Column("stuck", Text, nullable=False, default=""),
)

APPROVERS = Table(
    "approvers",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("secret", Text, nullable=False),
)

USED_CODES = Table(
    "used_codes",
    METADATA,
    Column("approver", String(40), nullable=False),
    Column("code", String(64), nullable=False),
    PrimaryKeyConstraint("approver", "code"),
)

WRONG_CODES = Table(
    "wrong_codes",
    METADATA,
    Column("approver", String(40), nullable=False),
    Column("source", String(120), nullable=False),
    Column("count", Integer, nullable=False),
    Column("not_before", Float, nullable=False),
    PrimaryKeyConstraint("approver", "source"),
)
