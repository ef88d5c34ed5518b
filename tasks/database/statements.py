"""What pg_stat_statements knows of a database's statements, and whether it may be asked.

Source: PostgreSQL manual, F.32 (pg_stat_statements); its columns differ by its version.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.normal_text import shown, with_parameters
from tasks.platforms.protocols import Connection

EXTENSION = "pg_stat_statements"
_HIDDEN = "<insufficient privilege>"
_CALLS = 1  # behind the time
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


class Query(BaseModel):
    """What one statement took, whoever ran it.

    Args:
        text: The statement without literals.
        role: Who ran it most.
        calls: How often it was run.
        seconds: Time that all runs took.
        rows: Rows that they gave or wrote; -1 where nobody counted.
        hit: Pages found in the server's cache.
        read: Pages that were not.
        spilled: Pages written to disk for sorting and hashing.
        slowest: Milliseconds that the slowest run took; 0 where nobody noted.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    role: str
    calls: int
    seconds: float
    rows: int = -1
    hit: int = 0
    read: int = 0
    spilled: int = 0
    slowest: float = 0.0

    @property
    def mean(self) -> float:
        """Milliseconds that a run takes."""
        return 1000 * self.seconds / max(1, self.calls)

    @property
    def rows_each(self) -> float:
        """Rows that a run gives; -1 where nobody counted."""
        return self.rows / max(1, self.calls) if self.rows >= 0 else -1.0

    @property
    def is_hidden(self) -> bool:
        """Whether its text may not be seen."""
        return self.text == _HIDDEN


class Counted(BaseModel):
    """Everything that was counted at one moment.

    Args:
        since: Since when it counts, for people; '' where that is not known.
        evicted: How often statements were thrown out to make room for others.
        counts: Sums of each statement by role and id: time in ms, then `_SUMS`.
        texts: Text of each.
    """

    model_config = ConfigDict(frozen=True)

    since: str
    evicted: int
    counts: dict[tuple[str, str], tuple[float, ...]]
    texts: dict[tuple[str, str], str]


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


def queries_of(now: Counted, before: Counted | None = None, but: Iterable[str] = ()) -> list[Query]:
    """Give what was counted by statement, the one that took the most time first.

    Args:
        now: What is counted now.
        before: An earlier look: only what came since is given.
        but: Roles whose statements are left out.

    Returns:
        Statements that differ in literals, roles or the lengths of lists count as one.
    """
    left_out = set(but)
    found: dict[str, dict[str, list[float]]] = defaultdict(dict)
    whole: dict[str, str] = {}
    for key, counts in now.counts.items():
        new = _since_then(counts, before.counts.get(key) if before else None)
        if new[_CALLS] <= 0 or key[0] in left_out:
            continue
        given = now.texts[key]
        text = given if given == _HIDDEN else with_parameters(given)
        whole.setdefault(shown(text), text)
        sums = found[shown(text)].setdefault(key[0], [0.0] * len(new))
        found[shown(text)][key[0]] = [a + b for a, b in zip(sums, new, strict=True)]
    queries = [_query(whole[short], roles) for short, roles in found.items()]
    return sorted(queries, key=lambda one: one.seconds, reverse=True)


def _since_then(now: tuple[float, ...], earlier: tuple[float, ...] | None) -> tuple[float, ...]:
    # Fewer calls than before: it was reset or thrown out in between, and counted anew.
    if earlier is None or now[_CALLS] < earlier[_CALLS]:
        return now
    return tuple(a - b for a, b in zip(now, earlier, strict=True))


def _query(text: str, roles: dict[str, list[float]]) -> Query:
    columns = zip(*roles.values(), strict=True)
    time, calls, rows, hit, read, spilled = (sum(column) for column in columns)
    return Query(
        text=text,
        role=max(roles, key=lambda role: roles[role][0]),
        calls=int(calls),
        seconds=time / 1000,
        rows=int(rows),
        hit=int(hit),
        read=int(read),
        spilled=int(spilled),
    )
