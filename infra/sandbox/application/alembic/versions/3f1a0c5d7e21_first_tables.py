"""First tables: accounts, programs, projects, workers, actuals, the audit log.

Revision ID: 3f1a0c5d7e21
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "3f1a0c5d7e21"
down_revision = None
branch_labels = None
depends_on = None

ROLES = (
    "ADMIN",
    "PROGRAM_MANAGER",
    "PROJECT_MANAGER",
    "FINANCE_MANAGER",
    "RESOURCE_MANAGER",
    "VIEWER",
)
TABLES = (
    "audit_logs",
    "actuals",
    "workers",
    "project_phases",
    "scope_assignments",
    "projects",
    "programs",
    "user_roles",
    "users",
)


def _create(name: str, *columns: Any, indexed: tuple[str, ...] = ()) -> None:  # noqa: ANN401 - columns and constraints alike
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), primary_key=True),
        *columns,
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
    )
    for column in indexed:
        op.create_index(f"ix_{name}_{column}", name, [column])


def _text(name: str, length: int, **options: Any) -> "sa.Column[str]":  # noqa: ANN401 - SQLAlchemy's own
    return sa.Column(name, sa.String(length), nullable=False, **options)


def _reference(name: str, table: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.Uuid(), sa.ForeignKey(f"{table}.id"), nullable=nullable)


def _active() -> "sa.Column[bool]":
    return sa.Column("is_active", sa.Boolean(), nullable=False)


def _accounts() -> None:
    _create(
        "users",
        _text("username", 100, unique=True),
        _text("email", 255, unique=True),
        _text("password_hash", 255),
        _active(),
    )
    _create(
        "user_roles",
        _reference("user_id", "users"),
        sa.Column("role_type", sa.Enum(*ROLES, name="roletype"), nullable=False),
        _active(),
        indexed=("user_id",),
    )


def _programs() -> None:
    _create("programs", _text("name", 255), sa.Column("description", sa.Text()), indexed=("name",))
    _create(
        "projects",
        _reference("program_id", "programs"),
        _text("name", 255),
        sa.Column("start_date", sa.Date()),
        sa.Column("end_date", sa.Date()),
        sa.Column("budget", sa.Numeric(14, 2), nullable=False),
        indexed=("program_id", "name"),
    )
    _create(
        "scope_assignments",
        _reference("user_role_id", "user_roles"),
        sa.Column(
            "scope_type", sa.Enum("GLOBAL", "PROGRAM", "PROJECT", name="scopetype"), nullable=False
        ),
        _reference("program_id", "programs", nullable=True),
        _reference("project_id", "projects", nullable=True),
        _active(),
        indexed=("user_role_id",),
    )
    _create(
        "project_phases",
        _reference("project_id", "projects"),
        _text("name", 100),
        sa.Column("position", sa.Integer(), nullable=False),
        indexed=("project_id",),
    )


def _bulk() -> None:
    _create("workers", _text("external_id", 50, unique=True), _text("name", 255))
    _create(
        "actuals",
        _reference("project_id", "projects"),
        _reference("worker_id", "workers"),
        sa.Column("actual_date", sa.Date(), nullable=False),
        sa.Column("hours", sa.Numeric(5, 2), nullable=False),
        sa.Column("cost", sa.Numeric(12, 2), nullable=False),
        indexed=("project_id", "worker_id", "actual_date"),
    )
    _create(
        "audit_logs",
        _reference("user_id", "users"),
        _text("entity_type", 100),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        _text("operation", 50),
        sa.Column("before_values", postgresql.JSONB()),
        sa.Column("after_values", postgresql.JSONB()),
        indexed=("user_id", "entity_id"),
    )


def upgrade() -> None:
    """Make the tables."""
    _accounts()
    _programs()
    _bulk()


def downgrade() -> None:
    """Drop the tables and their types."""
    for table in TABLES:
        op.drop_table(table)
    for name in ("scopetype", "roletype"):
        op.execute(f"DROP TYPE {name}")
