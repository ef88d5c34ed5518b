"""Which revision the application's schema has in a database, and which comes before which."""

from tasks.database.schema.history import read_history
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.protocols import Connection, System


def read_revision(session: Connection, table: str) -> str:
    """Read the revision of the application's schema.

    Args:
        session: A session in the database.
        table: Name of the table that holds it, in whatever schema.

    Returns:
        The revision; '' where there is none or it cannot be read.
    """
    try:
        found = read_revisions(session, table)
    except RemediationError:
        return ""
    return found[0] if found else ""


def is_older(system: System, backup: str, live: str) -> bool:
    """Say whether a backup's schema lies before live's in the application's own history.

    Args:
        system: The target.
        backup: Revision of the backup's schema, '' where unknown.
        live: Revision of live's schema, '' where it cannot be read.

    Returns:
        True where migrations lead from the backup's to live's. False where both are the
        same, one is unknown, or live is behind (half a migration made by hand): then the copy
        keeps the backup's schema.

    Raises:
        PreconditionFailed: The application does not know the backup's revision, or does not
            tell its history.
    """
    if not backup or not live or backup == live or system.migrations is None:
        return False
    history = read_history(system)
    if backup not in history.by_name:
        raise PreconditionFailed(
            expected=f"the application to know the backup's schema revision {backup}.",
            found=f"`{' '.join(system.migrations.history)}` names {len(history.revisions)} "
            f"revisions, {backup} not among them.",
            todo="Choose a backup that this version of the application can read.",
        )
    return history.is_before(backup, live)


def read_revisions(session: Connection, table: str) -> tuple[str, ...] | None:
    """Read every revision that a database says it is at; several where its history branches.

    Args:
        session: A session in the database.
        table: Name of the table that holds them, in whatever schema.

    Returns:
        The revisions in order, none where the table is empty; None where there is no such table.

    Raises:
        PreconditionFailed: The table cannot be read.
        Transient: The server does not answer.
    """
    name = find_version_table(session, table)
    if not name:
        return None
    query = f"SELECT version_num AS revision FROM {name} ORDER BY 1"  # noqa: S608 - quoted by the server
    return tuple(str(row["revision"]) for row in session.execute(query.encode()).fetchall())


def find_version_table(session: Connection, table: str) -> str:
    """Find the table that holds the revision.

    Args:
        session: A session in the database.
        table: Its name, in whatever schema.

    Returns:
        Its name with its schema, quoted; '' where there is none.
    """
    row = session.execute(
        """SELECT format('%%I.%%I', n.nspname, c.relname) AS name FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relname = %s AND c.relkind = 'r' ORDER BY n.nspname <> 'public' LIMIT 1""",
        (table,),
    ).fetchone()
    return str(row["name"]) if row else ""
