"""Which revision the application's schema has in a database, and which comes before which."""

import re

from psycopg import sql

from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.protocols import Connection, System

_STEP = re.compile(r"^(?P<older>[\w, <>]+?) -> (?P<newer>\w+)", re.MULTILINE)


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
    command = system.migrations.history
    told = system.application.run(command, {})
    steps = [
        (older.strip(), step["newer"])
        for step in _STEP.finditer(told.output)
        for older in step["older"].split(",")
    ]
    known = {revision for step in steps for revision in step}
    if told.status != 0 or backup not in known:
        raise PreconditionFailed(
            expected=f"the application to know the backup's schema revision {backup}.",
            found=f"`{' '.join(command)}` ended with status {told.status} and names "
            f"{len(known)} revisions, {backup} not among them. {told.errors[-300:]}".rstrip(),
            todo="Choose a backup that this version of the application can read.",
        )
    reached = {backup}
    while more := {newer for older, newer in steps if older in reached} - reached:
        reached |= more
    return live in reached
