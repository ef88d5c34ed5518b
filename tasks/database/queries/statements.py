"""What pg_stat_statements knows of a database's statements, and whether it may be asked.

Source: PostgreSQL manual, F.32 (pg_stat_statements); its columns differ by its version.
"""

from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.queries.measured import Counted
from tasks.platforms.protocols import Connection

EXTENSION = "pg_stat_statements"
_SUMS = ("calls", "rows", "shared_blks_hit", "shared_blks_read", "temp_blks_written")


class Statistics(BaseModel):
    """Whether pg_stat_statements can be asked in a database.

    Args:
        preloaded: Whether the server was started with it: only then it counts.
        schema_name: Schema in which it is installed; '' where it is not.
        available: Whether the server has its files.
        may_create: Whether the maintenance user may install it.
        may_read: Whether the maintenance user may read it.
        sees_all: Whether the maintenance user sees the statements of other users.
        user: The maintenance user.
    """

    model_config = ConfigDict(frozen=True)

    preloaded: bool
    schema_name: str
    available: bool
    may_create: bool
    may_read: bool
    sees_all: bool
    user: str

    @property
    def usable(self) -> bool:
        """Whether it can be asked now."""
        return self.preloaded and bool(self.schema_name) and self.may_read

    @property
    def may_install(self) -> bool:
        """Whether it is only not installed, and may be."""
        return self.preloaded and self.may_create and self.available and not self.schema_name


def inspect_statistics(session: Connection) -> Statistics:
    """Find out whether pg_stat_statements can be asked, and who may install it.

    Args:
        session: A session in the database.
    """
    row = (
        session.execute(
            """SELECT current_user AS "user",
                 EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max')
                   AS preloaded,
                 coalesce((SELECT n.nspname FROM pg_extension e JOIN pg_namespace n
                   ON n.oid = e.extnamespace WHERE e.extname = %(name)s), '') AS schema_name,
                 v.name IS NOT NULL AS available,
                 r.rolsuper OR (v.name IS NOT NULL AND (NOT v.superuser
                   OR v.trusted AND has_database_privilege(current_database(), 'CREATE')))
                   AS may_create,
                 pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all
               FROM pg_roles r LEFT JOIN (
                   SELECT v.* FROM pg_available_extension_versions v
                   JOIN pg_available_extensions e ON e.name = v.name
                     AND e.default_version = v.version WHERE v.name = %(name)s) v ON true
               WHERE r.rolname = current_user""",
            {"name": EXTENSION},
        ).fetchone()
        or {}
    )
    return Statistics(**row, may_read=_may_read(session, row["schema_name"]))


def _may_read(session: Connection, schema: str) -> bool:
    if not schema:
        return False
    row = session.execute(
        """SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
             AS may
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE (n.nspname, c.relname) = (%s, %s)""",
        (schema, EXTENSION),
    ).fetchone()
    return bool(row and row["may"])


def count_statements(session: Connection, statistics: Statistics) -> Counted:
    """Read the statements of this database: those that clients sent, not what these ran within.

    Args:
        session: A session in the database.
        statistics: From `inspect_statistics`; has to be usable.
    """
    view = sql.Identifier(statistics.schema_name, EXTENSION)
    known = _columns(session, statistics.schema_name)
    time = sql.Identifier("total_exec_time" if "total_exec_time" in known else "total_time")
    rows = session.execute(
        sql.SQL(
            """SELECT coalesce(r.rolname, s.userid::text) AS role,
                 coalesce(s.queryid::text, '') AS id, s.query, s.{time} AS time, {sums}
               FROM {view} s LEFT JOIN pg_roles r ON r.oid = s.userid
               WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND {toplevel}"""
        ).format(
            time=time,
            view=view,
            sums=sql.SQL(", ").join(sql.Identifier("s", name) for name in _SUMS),
            toplevel=sql.SQL("s.toplevel" if "toplevel" in known else "true"),
        )
    ).fetchall()
    counts: dict[tuple[str, str], tuple[float, ...]] = {}
    texts: dict[tuple[str, str], str] = {}
    for row in rows:
        key = (row["role"], row["id"])
        found = (float(row["time"]), *(float(row[name]) for name in _SUMS))
        before = counts.get(key, (0.0,) * len(found))  # of hidden ones the id is hidden as well
        counts[key] = tuple(a + b for a, b in zip(before, found, strict=True))
        texts[key] = row["query"] or ""
    since, evicted = _since(session, statistics.schema_name)
    return Counted(since=since, evicted=evicted, counts=counts, texts=texts)


def _columns(session: Connection, schema: str, view: str = EXTENSION) -> set[str]:
    rows = session.execute(
        """SELECT a.attname AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE (n.nspname, c.relname) = (%s, %s) AND a.attnum > 0 AND NOT a.attisdropped""",
        (schema, view),
    ).fetchall()
    return {row["name"] for row in rows}


def _since(session: Connection, schema: str) -> tuple[str, int]:
    info = f"{EXTENSION}_info"  # since version 1.9, of PostgreSQL 14
    if "stats_reset" not in _columns(session, schema, info):
        return "", 0
    row: dict[str, Any] | None = session.execute(
        sql.SQL(
            """SELECT to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS since,
                 dealloc FROM {}"""
        ).format(sql.Identifier(schema, info))
    ).fetchone()
    return (f"{row['since']} UTC", int(row["dealloc"])) if row else ("", 0)
