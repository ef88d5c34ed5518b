"""What a pg_repack that did not end has left: a trigger on each write, and tables that grow.

Source: pg_repack's manual, "Diagnostics", and what its 1.4.8 and 1.5.3 make.
"""

import random
import time

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.vacuum.rewritable import find_holders
from tasks.guardrails.errors import Transient
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

SCHEMA, TRIGGER = "repack", "repack_trigger"
_TRIES, _GONE_SECONDS = 8, 15.0
# Each pg_repack holds this advisory lock, with the table's OID brought into 32 signed bits.
_PREFIX, _SHIFT = 16185446, 2**31
_AT_WORK = """
    SELECT k.pid, coalesce(a.application_name, '') AS name, coalesce(left(a.query, 60), '') AS query
    FROM pg_locks k LEFT JOIN pg_stat_activity a ON a.pid = k.pid
    WHERE k.locktype = 'advisory' AND k.granted AND k.classid::bigint = %(prefix)s
      AND k.objid::bigint = (%(oid)s::bigint + 2147483648) %% 4294967296 AND k.objsubid = 2
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_LEFT = """
    SELECT l.oid::bigint AS oid, coalesce(n.nspname, '') AS schema_name,
      coalesce(c.relname, '') AS name, array_agg(l.what ORDER BY l.what)::text[] AS left,
      bool_and(pg_has_role(l.owner, 'USAGE')) AND
        bool_and(c.oid IS NULL OR pg_has_role(c.relowner, 'USAGE')) AS ours
    FROM (
      SELECT t.tgrelid::bigint AS oid, 'trigger ' || t.tgname AS what, r.relowner AS owner
      FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        JOIN pg_namespace s ON s.oid = p.pronamespace JOIN pg_class r ON r.oid = t.tgrelid
      WHERE s.nspname = 'repack' AND t.tgname = 'repack_trigger'
      UNION ALL
      SELECT substring(r.relname::text from '^(?:log|table)_([0-9]{1,10})$')::bigint,
        'table repack.' || r.relname, r.relowner
      FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
      WHERE s.nspname = 'repack' AND r.relkind = 'r'
      UNION ALL
      SELECT substring(y.typname::text from '^pk_([0-9]{1,10})$')::bigint,
        'type repack.' || y.typname, y.typowner
      FROM pg_type y JOIN pg_namespace s ON s.oid = y.typnamespace
      WHERE s.nspname = 'repack' AND y.typtype = 'c') l
      LEFT JOIN pg_class c ON c.oid::bigint = l.oid
      LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.oid IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 2, 3"""


class Remains(BaseModel):
    """What is there of a pg_repack, at work or not.

    Args:
        oid: OID of the table that it was to write anew.
        schema_name: That table's schema, '' where the table is gone.
        name: Its name.
        left: What there is, as 'trigger repack_trigger'.
        ours: Whether the maintenance user may drop all of it.
    """

    model_config = ConfigDict(frozen=True)

    oid: int
    schema_name: str
    name: str
    left: tuple[str, ...]
    ours: bool

    @property
    def full_name(self) -> str:
        """Schema and name of the table, or that it is gone."""
        return f"{self.schema_name}.{self.name}" if self.name else f"a table (OID {self.oid})"


def find_remains(session: Connection) -> list[Remains]:
    """Find what pg_repack has made in a database, also what one at work needs.

    Args:
        session: A session in the database.
    """
    return [Remains(**row) for row in session.execute(_LEFT.encode()).fetchall()]


def find_at_work(session: Connection, oid: int) -> list[tuple[int, str, str]]:
    """Find the sessions in which a pg_repack is at work on a table.

    Returns:
        Number, application_name and the beginning of the last statement of each.
    """
    rows = session.execute(_AT_WORK.encode(), {"prefix": _PREFIX, "oid": oid}).fetchall()
    return [(row["pid"], row["name"], row["query"]) for row in rows]


def end_own_sessions(database: Database, target: str, oid: int) -> None:
    """End what is left on the server of a pg_repack of ours whose program has ended.

    Args:
        database: The database under care.
        target: Name of the target, which our sessions carry in their names.
        oid: OID of the table.

    Raises:
        Transient: It would not end.
    """
    give_up = time.monotonic() + _GONE_SECONDS
    with database.connect() as session:
        while ours := [
            pid
            for pid, name, _ in find_at_work(session, oid)
            if name.startswith(f"remedy:{target}:")
        ]:
            for pid in ours:
                session.execute("SELECT pg_terminate_backend(%s)", (pid,))
            if time.monotonic() > give_up:
                raise Transient(
                    expected="the session of a pg_repack that has ended to end as well.",
                    found=f"session {ours[0]} is still there.",
                    state="The table is as it was; what was left beside it is still there.",
                    todo=f"On the server: SELECT pg_terminate_backend({ours[0]})",
                )
            time.sleep(0.1)


def clear_remains(database: Database, oid: int) -> tuple[str, ...]:
    """Drop what a pg_repack has left, while none is at work; all of it or nothing.

    Args:
        database: The database under care.
        oid: OID of the table that it was to write anew.

    Returns:
        What was dropped.

    Raises:
        Transient: A pg_repack is at work on the table, or it is in use all the time.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return _clear(database, oid)
        except Transient as error:
            if sqlstate(error) not in ("55P03", "40P01"):
                raise
            if attempt == _TRIES:
                raise _still_there(database, oid) from error
            time.sleep(random.uniform(0.1, 0.5) * attempt)  # noqa: S311 - not a secret
    return ()


def _still_there(database: Database, oid: int) -> Transient:
    with database.connect() as session:
        left = [one for one in find_remains(session) if one.oid == oid]
        holders = find_holders(session, oid)
    name = left[0].full_name if left else "the table"
    return Transient(
        expected=f"nobody to hold {name} for long, while what pg_repack has left beside it is "
        "dropped.",
        found=f"{'; '.join(holders) or 'somebody did, who is gone by now'}.",
        state=f"Its rows are as they were. There is still {', '.join(left[0].left)}"
        ": each write to it is written a second time."
        if left
        else "Nothing is left.",
        todo="Once that transaction has ended, run rewrite_tables again: it drops what is left.",
    )


def _clear(database: Database, oid: int) -> tuple[str, ...]:
    with (
        database.connect(lock_timeout="300ms", statement_timeout="10s") as session,
        session.transaction(),
    ):
        found = next((one for one in find_remains(session) if one.oid == oid), None)
        if found is None:
            return ()
        # As pg_repack does: until this transaction ends, none can begin.
        row = session.execute(
            "SELECT pg_try_advisory_xact_lock(%s::int, %s::int) AS alone", (_PREFIX, oid - _SHIFT)
        ).fetchone()
        if not row or not row["alone"]:
            raise Transient(
                expected=f"no pg_repack to be at work on {found.full_name}.",
                found=f"one is, in session {[pid for pid, _, _ in find_at_work(session, oid)]}.",
                todo="Wait until it has ended, then run again.",
            )
        for statement in _drops(found):
            session.execute(statement)
    return found.left


def _drops(found: Remains) -> list[sql.Composed]:
    """Give the statements in pg_repack's own order: the table first, or writers deadlock."""
    statements = []
    if found.name:
        table = sql.Identifier(found.schema_name, found.name)
        statements += [
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table),
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(TRIGGER), table),
        ]
    return [
        *statements,
        *(
            sql.SQL("DROP {} IF EXISTS {}").format(
                sql.SQL(kind), sql.Identifier(SCHEMA, f"{name}_{found.oid}")
            )
            for kind, name in (("TABLE", "log"), ("TYPE", "pk"), ("TABLE", "table"))
        ),
    ]
