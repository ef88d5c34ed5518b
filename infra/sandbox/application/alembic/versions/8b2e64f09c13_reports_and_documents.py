"""Reports with numbers of a sequence, documents kept as large objects.

Revision ID: 8b2e64f09c13
Revises: 3f1a0c5d7e21
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "8b2e64f09c13"
down_revision = "3f1a0c5d7e21"
branch_labels = None
depends_on = None


def _times() -> "list[sa.Column[Any]]":  # Any: of several types
    return [
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
    ]


def upgrade() -> None:
    """Make the tables and the sequence."""
    op.execute("CREATE SEQUENCE report_number_seq START 1000")
    op.create_table(
        "reports",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column(
            "number",
            sa.BigInteger(),
            nullable=False,
            unique=True,
            server_default=sa.text("nextval('report_number_seq')"),
        ),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        *_times(),
    )
    op.execute("ALTER SEQUENCE report_number_seq OWNED BY reports.number")
    op.create_index("ix_reports_project_id", "reports", ["project_id"])
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("content", postgresql.OID(), nullable=False),
        *_times(),
    )
    op.create_index("ix_documents_project_id", "documents", ["project_id"])


def downgrade() -> None:
    """Drop the tables; the sequence goes with its column, the large objects stay."""
    op.drop_table("documents")
    op.drop_table("reports")
