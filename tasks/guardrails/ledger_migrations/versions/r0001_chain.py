"""The chain that refuses to be changed, and the rows beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_REFUSED = "the ledger is append-only"


def upgrade() -> None:
    """Make the tables and the triggers."""
    op.create_table(
        "entries",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("remediation", sa.String(40), nullable=False),
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(120), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("signature", sa.String(100), nullable=False),
    )
    for column in ("remediation", "kind", "run"):
        op.create_index(f"entries_by_{column}", "entries", [column, "seq"])
    op.create_table(
        "leases",
        sa.Column("resource", sa.String(120), primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("remediation", sa.String(40), nullable=False),
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("stuck", sa.Text, nullable=False),
    )
    op.create_table(
        "approvers",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
    )
    op.create_table(
        "used_codes",
        sa.Column("approver", sa.String(40), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("approver", "code"),
    )
    op.create_table(
        "wrong_codes",
        sa.Column("approver", sa.String(40), nullable=False),
        sa.Column("source", sa.String(120), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("approver", "source"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER entries_no_{event.lower()} BEFORE {event} ON entries "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
            )
        # INSERT OR REPLACE removes the row in its way without firing the trigger on DELETE.
        op.execute(
            "CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries WHEN EXISTS "  # noqa: S608 - no input in it
            "(SELECT 1 FROM entries WHERE seq = NEW.seq OR hash = NEW.hash) "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        )
    else:
        op.execute(
            "CREATE FUNCTION entries_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
            "FOR EACH STATEMENT EXECUTE FUNCTION entries_refuse()"
        )


def downgrade() -> None:
    """Refuse: the ledger is never taken back."""
    raise NotImplementedError(_REFUSED)
