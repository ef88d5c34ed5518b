"""Alembic's environment: runs the migrations on the connection that it is given."""

from alembic import context

from tasks.guardrails.ledger_schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="ledger_version",
)
with context.begin_transaction():
    context.run_migrations()
