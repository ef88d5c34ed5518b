"""Tables and materialised views that can be written anew, as the catalogue has them."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from tasks.database.vacuum.changes import is_loose, list_tables
from tasks.platforms.protocols import Connection

# What pg_repack makes beside a table while it is at work; it goes with its end.
_OF_REPACK = r"^(log|table)_\d+$"


class Rewritable(BaseModel):
    """A table or materialised view.

    Args:
        oid: Its OID.
        schema_name: Its schema.
        name: Its name.
        kind: 'r' for a table, 'm' for a materialised view.
        persistence: 'p' for one that outlives a crash, 'u' for one that is unlogged.
        file: Number of its file, another one each time that it is written anew.
        toast_oid: OID of the table of its long values, 0 where there is none.
        tablespace: Its tablespace, '' for the database's.
        heap: Bytes of its file.
        toast: Bytes of its long values, with their index.
        indexes: Bytes of its indexes.
        content: Bytes of a file of its rows alone; 0 where nothing is known.
        long_content: Bytes of its long values alone.
        exact: Whether both were measured, and not estimated.
        may_vacuum: Whether the maintenance user may vacuum it.
        owned: Whether the maintenance user may do what its owner may.
        has_key: Whether it has a key by which each row is known.
        odd_key: Whether a column of such a key has an apostrophe in its name.
        invalid: Its indexes that are not valid.
    """

    model_config = ConfigDict(frozen=True)

    oid: int
    schema_name: str
    name: str
    kind: str
    persistence: str
    file: int
    toast_oid: int
    tablespace: str
    heap: int
    toast: int
    indexes: int
    content: int
    long_content: int
    exact: bool = False
    may_vacuum: bool
    owned: bool
    has_key: bool
    odd_key: bool
    invalid: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_name}.{self.name}"

    @property
    def written(self) -> int:
        """Bytes of what is written anew, at most about: rows, long values, indexes."""
        return (self.content or self.heap) + self.long_content + self.indexes

    @property
    def wasted(self) -> int:
        """Bytes that come free, about; what indexes give back comes on top."""
        known = bool(self.content) or self.exact
        return max(0, self.heap + self.toast - self.content - self.long_content) if known else 0

    @property
    def is_loose(self) -> bool:
        """Whether its files are much larger than its rows."""
        files = self.heap + self.toast
        return is_loose(files, files - self.wasted)

    @property
    def measured(self) -> str:
        """How its rows were measured."""
        return "measured" if self.exact else "estimated" if self.content else "unknown"


def list_rewritable(session: Connection) -> list[Rewritable]:
    """List what can be written anew; partitioned parents have no rows, foreign tables no file.

    Args:
        session: A session in the database, with a lock_timeout: sizes wait for who locks.

    Returns:
        Tables and materialised views of users, those of sessions left out, by name.
    """
    known = {one.oid: one for one in list_tables(session)}
    rows = session.execute(
        """SELECT c.oid::bigint AS oid, n.nspname AS schema_name, c.relname AS name,
             c.relkind::text AS kind, c.relpersistence::text AS persistence,
             coalesce(pg_relation_filenode(c.oid), 0)::bigint AS file,
             c.reltoastrelid::bigint AS toast_oid, coalesce(t.spcname, '') AS tablespace,
             coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) AS toast,
             coalesce(pg_indexes_size(c.oid), 0) AS indexes,
             pg_has_role(c.relowner, 'USAGE') AS owned, k.key AS has_key,
             coalesce(k.odd, false) AS odd_key,
             ARRAY(SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                   WHERE i.indrelid = c.oid AND NOT i.indisvalid ORDER BY 1) AS invalid
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
             CROSS JOIN LATERAL (SELECT count(*) > 0 AS key, bool_or(odd) AS odd FROM (
               SELECT bool_or(a.attname ~ '''') AS odd
               FROM pg_index i JOIN pg_attribute a
                 ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
               WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                 AND 0 <> ALL (i.indkey)
               GROUP BY i.indexrelid HAVING bool_and(a.attnotnull)) u) k
           WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
             AND NOT (n.nspname = 'repack' AND c.relname ~ %s)
           ORDER BY 2, 3""",
        (_OF_REPACK,),
    ).fetchall()
    return [
        Rewritable(
            heap=known[row["oid"]].size,
            content=known[row["oid"]].content,
            long_content=row["toast"],
            may_vacuum=known[row["oid"]].ours,
            **row,
        )
        for row in rows
        if row["oid"] in known
    ]


@dataclass(frozen=True)
class TableFile:
    """Which table has an OID, and which file its rows are in."""

    schema_name: str
    name: str
    file: int


def find_file(session: Connection, oid: int) -> TableFile | None:
    """Find a table by its OID, without waiting for who locks it; None where it is gone."""
    row = session.execute(
        """SELECT n.nspname AS schema_name, c.relname AS name,
             coalesce(pg_relation_filenode(c.oid), 0)::bigint AS file
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s""",
        (oid,),
    ).fetchone()
    return TableFile(**row) if row else None


@dataclass(frozen=True)
class Sizes:
    """Bytes of a table with its long values, and of its indexes."""

    table: int
    indexes: int

    def compared_to(self, before: "Sizes") -> str:
        """Say what has come free since, in words."""
        freed = before.table + before.indexes - self.table - self.indexes
        return (
            f"table {before.table / 1e6:.1f} -> {self.table / 1e6:.1f} MB, indexes "
            f"{before.indexes / 1e6:.1f} -> {self.indexes / 1e6:.1f} MB: {freed / 1e6:.1f} MB "
            "came free"
        )


def measure_sizes(session: Connection, oid: int) -> Sizes:
    """Measure a table; one that is gone has none."""
    row = session.execute(
        "SELECT coalesce(pg_table_size(%(oid)s::oid), 0) AS table, "
        "coalesce(pg_indexes_size(%(oid)s::oid), 0) AS indexes",
        {"oid": oid},
    ).fetchone()
    return Sizes(**row) if row else Sizes(0, 0)


def find_holders(session: Connection, oid: int, seconds: int = 0) -> list[str]:
    """Name the sessions that hold a table: who writes it anew has to wait for their ends.

    Args:
        session: A session in the database.
        oid: The table's OID.
        seconds: Only those whose transaction is that old.

    Returns:
        A sentence for each, the oldest first.
    """
    rows = session.execute(
        """SELECT format('session %%s of %%s (%%s), in a transaction for %%s s', l.pid,
               CASE WHEN a.pid IS NULL THEN '?' ELSE coalesce(a.usename, 'autovacuum') END,
               coalesce(a.state, CASE WHEN a.pid IS NULL THEN 'prepared?' ELSE 'active' END),
               extract(epoch FROM clock_timestamp() - a.xact_start)::int) AS who
           FROM (SELECT DISTINCT pid FROM pg_locks WHERE relation = %s AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                ) l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
           WHERE coalesce(clock_timestamp() - a.xact_start >= make_interval(secs => %s), true)
             AND l.pid IS DISTINCT FROM pg_backend_pid()
           ORDER BY a.xact_start""",
        (oid, seconds),
    ).fetchall()
    return [row["who"] for row in rows]


def is_held_by_autovacuum(session: Connection, oid: int) -> bool:
    """Say whether autovacuum, and nobody else, holds a table in a way that more than reads it.

    It gives way to who waits for longer than deadlock_timeout, unless it prevents a wraparound.

    Args:
        session: A session in the database.
        oid: The table's OID.
    """
    # Who may not see what others do sees of a worker of autovacuum that it has no user.
    row = session.execute(
        """SELECT count(*) > 0 AND bool_and(a.pid IS NOT NULL AND a.usename IS NULL) AS so
           FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
           WHERE l.relation = %s AND l.granted AND l.mode <> 'AccessShareLock'
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        (oid,),
    ).fetchone()
    return bool(row and row["so"])
