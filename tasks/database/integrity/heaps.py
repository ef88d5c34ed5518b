"""Whether tables can be read and hold together, by amcheck's look at every row.

Source: PostgreSQL manual F.1, verify_heapam (14 and newer); 30.2 (checksums).
"""

from dataclasses import dataclass

from psycopg import sql

from tasks.database.catalogue import find_tables
from tasks.database.giving_way import Watcher, long_look
from tasks.database.indexes.amcheck_extension import HEAP_CHECK, have_amcheck
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.postgresql import sqlstate
from tasks.platforms.protocols import Connection, Database

_FEW = 5


@dataclass(frozen=True)
class Heap:
    """What was seen of a table.

    Args:
        table: 'schema.name'.
        damage: What is wrong with it; '' for nothing.
        unread: Why it could not be looked at; '' where it was.
    """

    table: str
    damage: str = ""
    unread: str = ""


def verify_tables(database: Database) -> list[Heap]:
    """Look at every row of every table, and at its pages' checksums by reading them.

    Args:
        database: The database under care.

    Returns:
        One for each table. Where amcheck cannot be used, or is older than PostgreSQL 14's, each
        table is read as a whole instead.

    Raises:
        Transient: The server went away.
    """
    with long_look(database) as (session, watched):
        found = []
        for schema, name in find_tables(session):
            with session.transaction(force_rollback=True), watched() as watcher:
                found.append(_verify(session, schema, name, watcher))
    return found


def _verify(session: Connection, schema: str, name: str, watcher: Watcher) -> Heap:
    table = f"{schema}.{name}"
    try:
        with session.transaction():
            rows = session.execute(_question(session, schema, name)).fetchall()
    except RemediationError as error:
        if watcher.why:
            return Heap(table, unread=f"given up: {watcher.why}")
        if isinstance(error, Transient) and not sqlstate(error):
            raise
        detail = error.found.rstrip(".")
        damaged = sqlstate(error).startswith("XX")
        return Heap(table, damage=detail) if damaged else Heap(table, unread=detail)
    said = [f"page {row['blkno']}, row {row['offnum']}: {row['msg']}" for row in rows]
    return Heap(table, damage="; ".join(said))


def _question(session: Connection, schema: str, name: str) -> sql.Composed:
    table = sql.Identifier(schema, name)
    try:
        amcheck = have_amcheck(session, HEAP_CHECK)
    except PreconditionFailed:
        # Every column is written out, so that values kept apart (TOAST) are read as well.
        return sql.SQL(
            "SELECT NULL AS blkno, NULL AS offnum, NULL AS msg FROM ONLY {} AS t "
            "HAVING sum(length(t::text)) < 0"
        ).format(table)
    return sql.SQL(
        "SELECT blkno, offnum, msg FROM {}({}::regclass, check_toast => true) LIMIT {}"
    ).format(
        sql.Identifier(amcheck, "verify_heapam"),
        sql.Literal(table.as_string(session)),
        sql.Literal(_FEW),
    )


def count_checksum_failures(session: Connection) -> tuple[bool, int]:
    """Say whether pages have checksums, and how many failures the server has counted.

    Args:
        session: A session in the database.

    Returns:
        Whether, and failures in this database since its statistics were reset.
    """
    row = session.execute(
        """SELECT current_setting('data_checksums') = 'on' AS on,
             coalesce((SELECT checksum_failures FROM pg_stat_database
                       WHERE datname = current_database()), 0)::int AS failures"""
    ).fetchone() or {"on": False, "failures": 0}
    return bool(row["on"]), int(row["failures"])
