"""Whether tables can be read and hold together, by amcheck's look at every row.

Source: PostgreSQL manual F.1, verify_heapam (14 and newer); 30.2 (checksums).
"""

from dataclasses import dataclass, replace

from psycopg import sql

from tasks.database.catalogue import find_tables
from tasks.database.giving_way import Watcher, long_look
from tasks.database.indexes.amcheck_extension import HEAP_CHECK, have_amcheck
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

_FEW = 5


@dataclass(frozen=True)
class Heap:
    """What was seen of a table or a materialised view.

    Args:
        schema: Its schema.
        name: Its name.
        made_by_query: Whether it is a materialised view: what is damaged is made anew.
        damage: What is wrong with it; '' for nothing.
        unread: Why it could not be looked at; '' where it was.
    """

    schema: str
    name: str
    made_by_query: bool = False
    damage: str = ""
    unread: str = ""

    @property
    def table(self) -> str:
        """Schema and name, for people."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Schema and name, for the server."""
        return sql.Identifier(self.schema, self.name)


def verify_tables(database: Database) -> list[Heap]:
    """Look at every row of every table and materialised view, and so at pages' checksums.

    Args:
        database: The database under care.

    Returns:
        One for each. Where amcheck cannot be used, or is older than PostgreSQL 14's, each
        table is read as a whole instead.

    Raises:
        Transient: The server went away.
    """
    with long_look(database) as (session, watched):
        found = []
        for kind in ("r", "m"):
            for schema, name in find_tables(session, kind):
                with session.transaction(force_rollback=True), watched() as watcher:
                    heap = Heap(schema, name, made_by_query=kind == "m")
                    found.append(_verify(session, heap, watcher))
    return found


def _verify(session: Connection, heap: Heap, watcher: Watcher) -> Heap:
    try:
        with session.transaction():
            rows = session.execute(_question(session, heap.identifier)).fetchall()
    except RemediationError as error:
        if watcher.why:
            return replace(heap, unread=f"given up: {watcher.why}")
        if isinstance(error, Transient) and not sqlstate(error):
            raise
        detail = error.found.rstrip(".")
        damaged = sqlstate(error).startswith("XX")
        return replace(heap, damage=detail) if damaged else replace(heap, unread=detail)
    said = [f"page {row['blkno']}, row {row['offnum']}: {row['msg']}" for row in rows]
    return replace(heap, damage="; ".join(said))


def _question(session: Connection, table: sql.Identifier) -> sql.Composed:
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
