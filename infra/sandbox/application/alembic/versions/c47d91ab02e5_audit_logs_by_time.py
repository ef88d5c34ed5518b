"""The audit log is read by time.

Revision ID: c47d91ab02e5
Revises: 8b2e64f09c13
"""

from alembic import op

revision = "c47d91ab02e5"
down_revision = "8b2e64f09c13"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_audit_logs_created_at", "audit_logs", ["created_at"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_audit_logs_created_at", "audit_logs")
