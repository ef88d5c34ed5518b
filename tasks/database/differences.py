"""Two databases of one server compared by primary key: what was added, changed, deleted.

Aggregated hashes of buckets of keys are compared first, on both sides at once, and only the
buckets that differ are read row by row: a million rows take a scan of each side.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import connect_with, find_tables
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection, Database

_BUCKETS = 4096
_NAMED = 20
_RECORD_HASH_SINCE = 140000
# Damaged indexes must not answer, and rows must be written alike on both sides.
SETTINGS = {
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
    "statement_timeout": "0",
    "lock_timeout": "5s",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "search_path": "pg_catalog",
    "default_transaction_read_only": "on",
    "jit": "off",
}


class TableDifference(BaseModel):
    """How a table of live differs from the same in the copy.

    Args:
        table: 'schema.table'.
        added: Rows that only live has: lost by a cut-over.
        changed: Rows that both have, differently: live's are lost by a cut-over.
        deleted: Rows that only the copy has: back after a cut-over.
        named: Keys of the first rows that a cut-over loses.
        unread: Why it could not be compared, '' where it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    added: int = 0
    changed: int = 0
    deleted: int = 0
    named: tuple[str, ...] = ()
    unread: str = ""

    @property
    def lost(self) -> int:
        """Rows of live that a cut-over throws away."""
        return self.added + self.changed


def measure_differences(database: Database, live: str, side: str) -> tuple[TableDifference, ...]:
    """Compare all tables of two databases.

    Args:
        database: The database under care, on whose server both are.
        live: Name of the live database.
        side: Name of the copy.

    Returns:
        The tables that differ or could not be compared, in order.
    """
    with (
        connect_with(database, live, SETTINGS) as there,
        connect_with(database, side, SETTINGS) as here,
        ThreadPoolExecutor(2) as pool,
    ):
        in_live, in_side = set(find_tables(there)), set(find_tables(here))
        found: list[TableDifference] = []
        for schema, name in sorted(in_live | in_side):
            try:
                found.append(
                    _compare(
                        _Side(there, (schema, name) in in_live),
                        _Side(here, (schema, name) in in_side),
                        schema,
                        name,
                        pool,
                    )
                )
            except RemediationError as error:
                found.append(
                    TableDifference(
                        table=f"{schema}.{name}", unread=f"cannot be read: {error.found}"
                    )
                )
    return tuple(one for one in found if one.added or one.changed or one.deleted or one.unread)


class _Side:
    """One of the two databases, for a table that it may lack."""

    def __init__(self, session: Connection, has_it: bool) -> None:
        self.session, self.has_it = session, has_it

    def columns(self, schema: str, name: str) -> tuple[dict[str, bool], list[str]]:
        """Give the columns by name with whether they hash, and those of the primary key."""
        rows = self.session.execute(
            """SELECT a.attname AS name,
                 coalesce(a.attnum = ANY (i.indkey::int2[]), false) AS in_key,
                 EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                         WHERE m.amname = 'hash' AND o.opcdefault AND o.opcintype = t.oid)
                 OR t.typname = 'varchar' AS hashes  -- not enums: they hash by their OIDs
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
               LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
               WHERE a.attrelid = format('%%I.%%I', %s::text, %s::text)::regclass
                 AND a.attnum > 0 AND NOT a.attisdropped
               ORDER BY a.attname""",
            (schema, name),
        ).fetchall()
        return (
            {row["name"]: row["hashes"] for row in rows},
            [row["name"] for row in rows if row["in_key"]],
        )

    def count(self, table: sql.Composable) -> int:
        row = self.session.execute(sql.SQL("SELECT count(*) AS n FROM ONLY {}").format(table))
        return int((row.fetchone() or {"n": 0})["n"])

    def buckets(self, table: sql.Composable, hashes: "_Hashes") -> dict[int, Any]:
        """Give count and sum of the rows' hashes for each bucket of keys."""
        rows = self.session.execute(
            sql.SQL(
                """SELECT {key_hash} & {most} AS bucket, count(*) AS n, sum({row_hash}) AS hash
                   FROM ONLY {table} GROUP BY 1"""
            ).format(key_hash=hashes.key, row_hash=hashes.row, table=table, most=_BUCKETS - 1)
        ).fetchall()
        return {row["bucket"]: (row["n"], row["hash"]) for row in rows}

    def rows(self, table: sql.Composable, hashes: "_Hashes", buckets: list[int]) -> dict[str, Any]:
        """Give the hash (or, without a key, the number) of each row in some buckets."""
        rows = self.session.execute(
            sql.SQL(
                """SELECT {key} AS key, sum({row_hash}) AS hash FROM ONLY {table}
                   WHERE {key_hash} & {most} = ANY(%s) GROUP BY 1"""
            ).format(
                key=hashes.shown,
                key_hash=hashes.key,
                row_hash=hashes.row,
                table=table,
                most=_BUCKETS - 1,
            ),
            (buckets,),
        ).fetchall()
        return {row["key"]: row["hash"] for row in rows}


def _compare(
    live: _Side, side: _Side, schema: str, name: str, pool: ThreadPoolExecutor
) -> TableDifference:
    table = sql.Identifier(schema, name)
    shown = f"{schema}.{name}"
    if not live.has_it:
        return TableDifference(
            table=shown, deleted=side.count(table), unread="" if side.count(table) else "missing"
        )
    if not side.has_it:
        return TableDifference(table=shown, added=live.count(table))
    there, key = live.columns(schema, name)
    here, side_key = side.columns(schema, name)
    common = [column for column in there if column in here]
    hashing = {column: there[column] and here[column] for column in common}
    version = live.session.info.server_version
    hashes = _hashes(key or side_key or common, hashing, version)
    ours, theirs = pool.map(lambda one: one.buckets(table, hashes), (live, side))
    differ = [
        bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket)
    ]
    if not differ:
        return TableDifference(table=shown)
    old, new = pool.map(lambda one: one.rows(table, hashes, differ), (live, side))
    added = sorted(old.keys() - new.keys())
    changed = sorted(one for one in old.keys() & new.keys() if old[one] != new[one])
    return TableDifference(
        table=shown,
        added=len(added),
        changed=len(changed),
        deleted=len(new.keys() - old.keys()),
        named=tuple((added + changed)[:_NAMED]),
    )


@dataclass(frozen=True)
class _Hashes:
    """Expressions for a table's rows: the key as shown, its hash, the hash of the whole row."""

    shown: sql.Composable
    key: sql.Composable
    row: sql.Composable


def _hashes(key: list[str], columns: dict[str, bool], version: int) -> _Hashes:
    """Hash by the types' own functions: a fifth of the time that their text takes.

    Args:
        key: Columns of the key.
        columns: All columns that both sides have, with whether their type hashes.
        version: The server's version number.
    """
    own = version >= _RECORD_HASH_SINCE

    def record(names: Iterable[str], seed: int) -> sql.Composable:
        parts = sql.SQL(", ").join(
            sql.Identifier(name)
            if own and columns[name]
            else sql.SQL("{}::text").format(sql.Identifier(name))
            for name in names
        )
        if own:
            return sql.SQL("hash_record_extended(ROW({}), {})").format(parts, seed)
        return sql.SQL("hashtextextended(ROW({})::text, {})").format(parts, seed)

    shown = sql.SQL("ROW({})::text").format(sql.SQL(", ").join(map(sql.Identifier, key)))
    return _Hashes(shown, record(key, 0), record(columns, 1))
