"""Which revision the application's schema has in a database."""

from psycopg import sql

from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection


def read_revision(session: Connection, table: str) -> str:
    """Read the revision of the application's schema.

    Args:
        session: A session in the database.
        table: Name of the table that holds it, in whatever schema.

    Returns:
        The revision; '' where there is none or it cannot be read.
    """
    try:
        row = session.execute(
            """SELECT n.nspname AS schema FROM pg_class c
               JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.relname = %s AND c.relkind = 'r' ORDER BY n.nspname <> 'public' LIMIT 1""",
            (table,),
        ).fetchone()
        if row is None:
            return ""
        found = session.execute(
            sql.SQL("SELECT version_num AS revision FROM {} LIMIT 1").format(
                sql.Identifier(row["schema"], table)
            )
        ).fetchone()
    except RemediationError:
        return ""
    return str(found["revision"]) if found else ""
