"""What the catalogue and the statistics say of tables that an index might be missing on."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.platforms.protocols import Connection

_PARTITIONED = "p"
_ENTRY = 16  # bytes of a B-tree's entry beside its key
_FILL = 0.9


class Heap(BaseModel):
    """A table, and how it is read.

    Args:
        oid: Its OID.
        schema_name: Its schema.
        name: Its name.
        kind: 'r' for a table, 'p' for one that is partitioned.
        pages: Its pages.
        rows: Its rows, about.
        ours: Whether the maintenance user may make indexes on it.
        building: Whether somebody builds an index on it now.
        scans: How often it was read as a whole.
        read: Rows that were read so.
        index_scans: How often it was read by an index.
        deleted: Rows that were deleted from it.
    """

    model_config = ConfigDict(frozen=True)

    oid: int
    schema_name: str
    name: str
    kind: str
    pages: int
    rows: float
    ours: bool
    building: bool
    scans: int
    read: int
    index_scans: int
    deleted: int

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_name}.{self.name}"

    @property
    def is_partitioned(self) -> bool:
        """Whether it is cut into partitions: no index is built on it concurrently."""
        return self.kind == _PARTITIONED


class UnindexedKey(BaseModel):
    """A foreign key whose columns no index begins with.

    Args:
        name: Name of the constraint.
        table_oid: OID of the table that points.
        points_at_oid: OID of the table that is pointed at.
        columns: Columns that point.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    table_oid: int
    points_at_oid: int
    columns: tuple[str, ...]


def list_heaps(session: Connection) -> list[Heap]:
    """List the tables of users with what the statistics say of them.

    Args:
        session: A session in the database.
    """
    rows = session.execute(
        """SELECT c.oid::bigint AS oid, n.nspname AS schema_name, c.relname AS name,
             c.relkind::text AS kind,
             (coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int)::int
               AS pages,
             (CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE coalesce(s.n_live_tup, 0) END)::float
               AS rows,
             pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') AS ours,
             EXISTS (SELECT FROM pg_stat_progress_create_index p
               WHERE p.relid = c.oid AND p.datname = current_database()) AS building,
             coalesce(s.seq_scan, 0) AS scans, coalesce(s.seq_tup_read, 0) AS read,
             coalesce(s.idx_scan, 0) AS index_scans, coalesce(s.n_tup_del, 0) AS deleted
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
           WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
             AND n.nspname NOT IN ('pg_catalog', 'information_schema')
             AND n.nspname !~ '^pg_(toast|temp)'
           ORDER BY 2, 3"""
    ).fetchall()
    return [Heap(**row) for row in rows]


def list_keys(session: Connection) -> list[UnindexedKey]:
    """List the foreign keys whose columns no valid index begins with, in whatever order.

    Args:
        session: A session in the database.
    """
    rows = session.execute(
        """SELECT c.conname AS name, c.conrelid::bigint AS table_oid,
             c.confrelid::bigint AS points_at_oid,
             ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k(n, i)
                   JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n
                   ORDER BY k.i) AS columns
           FROM pg_constraint c WHERE c.contype = 'f' ORDER BY 2, 1"""
    ).fetchall()
    keys = [UnindexedKey(**row) for row in rows]
    return [one for one in keys if not find_covering(session, one.table_oid, one.columns)]


def find_covering(
    session: Connection, table_oid: int, equal: Sequence[str], ranged: Sequence[str] = ()
) -> str:
    """Find a valid index that serves whatever one of these columns would.

    It is a B-tree over all rows whose first columns are these, with the operator class and
    the collation that they have by default.

    Args:
        session: A session in the database.
        table_oid: OID of the table.
        equal: Columns that are compared by =: their order makes no difference.
        ranged: Columns behind them, in order.

    Returns:
        Schema and name of it, '' for none.
    """
    for row in _indexes(session, table_oid):
        first = row["keys"][: len(equal)]
        behind = row["keys"][len(equal) : len(equal) + len(ranged)]
        if row["valid"] and set(first) == set(equal) and behind == list(ranged):
            return str(row["name"])
    return ""


def _indexes(session: Connection, table_oid: int) -> list[dict[str, Any]]:
    return session.execute(
        """SELECT n.nspname || '.' || c.relname AS name,
             i.indisvalid AND i.indisready AND i.indislive AS valid,
             ARRAY(SELECT CASE WHEN o.opcdefault AND i.indcollation[k - 1] = a.attcollation
                     THEN a.attname::text END
                   FROM generate_series(1, i.indnkeyatts) AS k
                     LEFT JOIN pg_attribute a
                       ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]
                     LEFT JOIN pg_opclass o ON o.oid = i.indclass[k - 1]
                   ORDER BY k) AS keys
           FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = c.relam
           WHERE i.indrelid = %s AND m.amname = 'btree' AND i.indpred IS NULL
           ORDER BY 1""",
        (table_oid,),
    ).fetchall()


def order_columns(session: Connection, heap: Heap, columns: Sequence[str]) -> tuple[str, ...]:
    """Put columns in the order in which an index tells rows apart soonest.

    Args:
        session: A session in the database.
        heap: Their table.
        columns: Columns.

    Returns:
        Those that the table has, the one with the most different values first.
    """
    rows = session.execute(
        """SELECT a.attname::text AS name,
             coalesce(CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * %(rows)s
                      ELSE s.n_distinct END, 0)::float AS many
           FROM pg_attribute a LEFT JOIN pg_stats s ON NOT s.inherited AND s.attname = a.attname
             AND (s.schemaname, s.tablename) = (%(schema)s, %(table)s)
           WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attname = ANY (%(columns)s)
           ORDER BY 2 DESC, array_position(%(columns)s::text[], a.attname::text)""",
        {
            "rows": heap.rows,
            "schema": heap.schema_name,
            "table": heap.name,
            "oid": heap.oid,
            "columns": list(columns),
        },
    ).fetchall()
    return tuple(row["name"] for row in rows)


def estimate_size(session: Connection, heap: Heap, columns: Sequence[str]) -> int:
    """Estimate the bytes of a B-tree index.

    Args:
        session: A session in the database.
        heap: Its table.
        columns: Its columns.
    """
    row = session.execute(
        """SELECT coalesce(sum(s.avg_width), 0)::int AS width FROM pg_stats s
           WHERE NOT s.inherited AND (s.schemaname, s.tablename) = (%s, %s)
             AND s.attname = ANY (%s)""",
        (heap.schema_name, heap.name, list(columns)),
    ).fetchone() or {"width": 0}
    width = row["width"] or 16 * len(columns)
    return int(heap.rows * (_ENTRY + width) / _FILL) + 16384


def lookup_of(heap: Heap, columns: Sequence[str]) -> str:
    """Write the query by which the server looks for rows that point at one that goes.

    Args:
        heap: The table that points.
        columns: The columns of its foreign key.
    """
    return (
        sql.SQL("SELECT 1 FROM ONLY {} x WHERE {}")
        .format(
            sql.Identifier(heap.schema_name, heap.name),
            sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.SQL(f"${number}"))
                for number, column in enumerate(columns, start=1)
            ),
        )
        .as_string()
    )
