"""What a table is made of, as far as its rows are carried from one database to another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tasks.platforms.protocols import Connection

UPDATED, CREATED, VERSION = "updated_at", "created_at", "version"
_COLUMNS = """
    SELECT n.nspname AS schema, c.relname AS table, a.attname::text AS name,
      format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated <> '' AS generated,
      a.attidentity = 'a' AS always, t.typname IN ('oid', 'lo') AS large,
      t.typname IN ('timestamp', 'timestamptz', 'date') AS moment,
      t.typname IN ('int2', 'int4', 'int8') AS whole,
      coalesce(a.attnum = ANY (i.indkey::int2[]), false) AS in_key,
      CASE WHEN c.relispartition THEN (
        SELECT coalesce(array_agg(p.relid::oid::int8), '{}')
        FROM pg_partition_ancestors(c.oid) p WHERE p.relid <> c.oid) ELSE '{}' END AS above,
      c.oid::int8 AS oid,
      has_table_privilege(d.datdba, c.oid, 'SELECT')
        AND has_table_privilege(d.datdba, c.oid, 'INSERT')
        AND has_table_privilege(d.datdba, c.oid, 'UPDATE')
        AND has_table_privilege(d.datdba, c.oid, 'DELETE') AS writable
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_database d ON d.datname = current_database()
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid
      -- Not by one of periods (PostgreSQL 18 and newer): no row is found by its equal there.
      LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND NOT i.indisexclusion
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema'
    ORDER BY 1, 2, a.attname"""
# Constraints to the partitions of a partitioned table stand for the one to the table itself.
_FOREIGN_KEYS = """
    SELECT c.conname::text AS name, c.conrelid::int8 AS child, c.confrelid::int8 AS parent,
      n.nspname AS schema, r.relname AS table,
      (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.conkey)
         WITH ORDINALITY k(num, n) JOIN pg_attribute a
         ON a.attrelid = c.conrelid AND a.attnum = k.num) AS columns,
      (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.confkey)
         WITH ORDINALITY k(num, n) JOIN pg_attribute a
         ON a.attrelid = c.confrelid AND a.attnum = k.num) AS keys,
      cn.nspname AS child_schema, cr.relname AS child_table
    FROM pg_constraint c
      JOIN pg_class r ON r.oid = c.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
      JOIN pg_class cr ON cr.oid = c.conrelid AND cr.relkind = 'r'
      JOIN pg_namespace cn ON cn.oid = cr.relnamespace
    WHERE c.contype = 'f' AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
      AND NOT EXISTS (SELECT FROM pg_constraint p
                      WHERE p.oid = c.conparentid AND p.conrelid = c.conrelid)
    ORDER BY c.conname, c.conrelid"""


@dataclass(frozen=True)
class Shape:
    """A table as it is written.

    Args:
        oid: Its OID in its own database.
        schema: Name of its schema.
        name: Its name.
        columns: Columns that are written, in the order of their names: no generated ones.
        types: Type of every column, and whether it is generated, by name.
        key: Columns of the primary key, in the order of their names.
        fixed: Columns that an UPDATE leaves: the key, and identities that are always generated.
        large: Columns that may name a large object.
        moments: Which of updated_at and created_at it has.
        versioned: Whether it has a whole number named version.
        above: OIDs of the partitioned tables that it is a part of.
        writable: Whether the database's owner may write it.
    """

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]
    types: Mapping[str, tuple[str, bool]]
    key: tuple[str, ...]
    fixed: frozenset[str]
    large: tuple[str, ...]
    moments: frozenset[str]
    versioned: bool
    above: tuple[int, ...]
    writable: bool

    @property
    def shown(self) -> str:
        """The table as people read it."""
        return f"{self.schema}.{self.name}"

    @property
    def table(self) -> sql.Identifier:
        """The table as SQL names it."""
        return sql.Identifier(self.schema, self.name)

    @property
    def set_columns(self) -> tuple[str, ...]:
        """Columns that an UPDATE sets."""
        return tuple(one for one in self.columns if one not in self.fixed)

    def listed(self, alias: str = "", columns: Sequence[str] = ()) -> sql.Composable:
        """List columns, all that are written by default, of an alias where one is given."""
        return sql.SQL(", ").join(
            sql.Identifier(alias, one) if alias else sql.Identifier(one)
            for one in columns or self.columns
        )

    def key_of(self, alias: str) -> sql.Composable:
        """Write the key of a row as people read it."""
        return sql.SQL("ROW({})::text").format(self.listed(alias, self.key))

    def same_key(self, one: str, other: str) -> sql.Composable:
        """Write the condition that rows of two aliases have one key."""
        return equal(one, self.key, other, self.key)


@dataclass(frozen=True)
class Reference:
    """A foreign key.

    Args:
        name: Name of the constraint.
        child: OID of the table that points.
        parent: OID of the table that is pointed at.
        table: The table that is pointed at.
        columns: Columns that point.
        keys: Columns that are pointed at.
        by: The table that points.
    """

    name: str
    child: int
    parent: int
    table: sql.Identifier
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    by: sql.Identifier


def equal(one: str, columns: Sequence[str], other: str, others: Sequence[str]) -> sql.Composable:
    """Write the condition that columns of two aliases are equal, one by one."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(one, mine), sql.Identifier(other, theirs))
        for mine, theirs in zip(columns, others, strict=True)
    )


def read_shapes(session: Connection) -> dict[str, Shape]:
    """Read the shapes of a database's tables, by 'schema.table'."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in session.execute(_COLUMNS).fetchall():
        tables.setdefault(f"{row['schema']}.{row['table']}", []).append(row)
    return {shown: _shape(rows) for shown, rows in tables.items()}


def _shape(rows: list[dict[str, Any]]) -> Shape:
    key = tuple(row["name"] for row in rows if row["in_key"])
    return Shape(
        oid=rows[0]["oid"],
        schema=rows[0]["schema"],
        name=rows[0]["table"],
        columns=tuple(row["name"] for row in rows if not row["generated"]),
        types={row["name"]: (row["type"], row["generated"]) for row in rows},
        key=key,
        fixed=frozenset({*key, *(row["name"] for row in rows if row["always"])}),
        large=tuple(row["name"] for row in rows if row["large"]),
        moments=frozenset(
            row["name"] for row in rows if row["moment"] and row["name"] in {UPDATED, CREATED}
        ),
        versioned=any(row["name"] == VERSION and row["whole"] for row in rows),
        above=tuple(rows[0]["above"]),
        writable=rows[0]["writable"],
    )


def read_references(session: Connection) -> list[Reference]:
    """Read a database's foreign keys, each of a partition as its own."""
    return [
        Reference(
            name=row["name"],
            child=row["child"],
            parent=row["parent"],
            table=sql.Identifier(row["schema"], row["table"]),
            columns=tuple(row["columns"]),
            keys=tuple(row["keys"]),
            by=sql.Identifier(row["child_schema"], row["child_table"]),
        )
        for row in session.execute(_FOREIGN_KEYS).fetchall()
    ]


def is_parent(shape: Shape, reference: Reference) -> bool:
    """Say whether a foreign key points at a table, or at one that it is a part of."""
    return reference.parent in {shape.oid, *shape.above}


def in_order(shapes: Iterable[Shape], references: Sequence[Reference]) -> list[Shape]:
    """Put tables in the order of their foreign keys, parents first.

    Of those that point at each other in a circle one has to come first.
    """
    waiting = sorted(shapes, key=lambda one: one.shown)
    ordered: list[Shape] = []
    while waiting:
        free = [one for one in waiting if not _parents(one, waiting, references)]
        ordered.append(free[0] if free else _in_circle(waiting, references))
        waiting.remove(ordered[-1])
    return ordered


def _in_circle(waiting: Sequence[Shape], references: Sequence[Reference]) -> Shape:
    """Go from parent to parent until one comes again."""
    seen = [waiting[0]]
    while (parent := _parents(seen[-1], waiting, references)[0]) not in seen:
        seen.append(parent)
    return parent


def _parents(
    shape: Shape, waiting: Sequence[Shape], references: Sequence[Reference]
) -> list[Shape]:
    return [
        other
        for other in waiting
        if other is not shape
        and any(one.child == shape.oid and is_parent(other, one) for one in references)
    ]
