"""What was written to the live database between the comparison that was approved and the swap.

It stays in the old database, and only there: after the swap nobody writes to that any more,
so that the rows are counted to the last and named by their keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from tasks.database.catalogue import connect_with, elsewhere, find_tables
from tasks.database.copies.differences import SETTINGS
from tasks.database.copies.row_hashes import make_hashes, read_columns
from tasks.guardrails import faults
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.protocols import Connection, Database

_NAMED = 20


def describe_left_behind(database: Database, kept: str, since: int) -> str:
    """Say which rows of the old database are newer than the comparison that was approved.

    Args:
        database: The database under care.
        kept: Name of the old database, which is opened for the time of it.
        since: The oldest transaction that was open at the comparison.

    Returns:
        A sentence with the number for each table, and the keys of the first rows.
    """
    with (
        _open(database, kept),
        connect_with(database, kept, SETTINGS) as session,
    ):
        found = [_newer(session, *table, since) for table in find_tables(session)]
    told = [one for one in found if one]
    return (
        f"written to it between the comparison and the swap, and only in {kept} now: "
        f"{'; '.join(told) or 'nothing'}"
    )


@contextmanager
def _open(database: Database, kept: str) -> Iterator[None]:
    """Let sessions into the old database while the block runs."""
    with database.connect(elsewhere(database)) as session:
        allow_connections(session, kept, allow=True)
        faults.point("database.swap_databases:counting")
        try:
            yield
        finally:
            allow_connections(session, kept, allow=False)


def allow_connections(session: Connection, name: str, *, allow: bool) -> None:
    """Let sessions into a database, or shut everybody out, superusers too."""
    session.execute(allowing(name, allow=allow))


def allowing(name: str, *, allow: bool) -> sql.Composed:
    """Write the statement that lets sessions into a database or shuts them out."""
    return sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
        sql.Identifier(name), sql.SQL("true" if allow else "false")
    )


def _newer(session: Connection, schema: str, name: str, since: int) -> str:
    """Count and name a table's newer rows; '' where there are none."""
    newer = sql.SQL("age(xmin) <= (SELECT age({}::xid))").format(str(since % 2**32))
    columns = read_columns(session, schema, name)
    hashes = make_hashes(columns, columns, session.info.server_version)
    try:
        rows = session.execute(
            sql.SQL("SELECT {} AS key FROM ONLY {} WHERE {} ORDER BY 1").format(
                hashes.shown, sql.Identifier(schema, name), newer
            )
        ).fetchall()
    except Transient:
        raise
    except RemediationError as error:  # the damage for which it was restored
        return f"{schema}.{name} cannot be read: {error.found}"
    if not rows:
        return ""
    counted = f"{schema}.{name} {len(rows)} rows"
    if not hashes.keyed:  # without a key a row's name would be all of it, for ever in the ledger
        return counted
    keys = ", ".join(str(row["key"]) for row in rows[:_NAMED])
    return f"{counted}: {keys}{', ...' if len(rows) > _NAMED else ''}"
