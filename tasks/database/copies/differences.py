"""Two databases of one server compared by primary key: what was added, changed, deleted.

Aggregated hashes of buckets of keys are compared first, on both sides at once, and only the
buckets that differ are read row by row: a million rows take a scan of each side.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import connect_with, find_tables
from tasks.database.copies.row_hashes import Hashes, make_hashes, read_columns
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.protocols import Connection, Database

_NAMED = 20
# Damaged indexes must not answer, and rows must be written alike on both sides.
SETTINGS = {
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
    # 8,192 buckets are foreseen as a million groups: the table would be sorted, on disk.
    "enable_sort": "off",
    "work_mem": "32MB",
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
Rows = dict[str, tuple[int, Any]]
T = TypeVar("T")


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


@dataclass
class Pair:
    """A session in each of the two databases, at work at the same time.

    Args:
        live: In the live database.
        side: In the copy.
        pool: The two threads.
        in_live: Tables of live, by schema and name.
        in_side: Tables of the copy.
        rows: Rows of the copy by 'schema.table', as far as they were counted.
    """

    live: Connection
    side: Connection
    pool: ThreadPoolExecutor
    in_live: set[tuple[str, str]]
    in_side: set[tuple[str, str]]
    rows: dict[str, int] = field(default_factory=dict)

    def both(self, work: Callable[[Connection], T]) -> tuple[T, T]:
        """Do something on both sides at once; an error is live's first."""
        there, here = (self.pool.submit(work, one) for one in (self.live, self.side))
        error = here.exception()  # waited for in any case: the session is used again
        found = there.result()
        if error:
            raise error
        return found, here.result()


@contextmanager
def paired(database: Database, live: str, side: str) -> Iterator[Pair]:
    """Open a session in each of two databases, that reads and does nothing else.

    Args:
        database: The database under care, on whose server both are.
        live: Name of the live database.
        side: Name of the copy.

    Yields:
        Both.
    """
    # Connected here: in the pool's threads they would not carry the fencing token.
    with (
        connect_with(database, live, SETTINGS) as there,
        connect_with(database, side, SETTINGS) as here,
        ThreadPoolExecutor(2) as pool,
    ):
        yield Pair(there, here, pool, set(find_tables(there)), set(find_tables(here)))


def measure_differences(database: Database, live: str, side: str) -> tuple[TableDifference, ...]:
    """Compare all tables of two databases.

    Args:
        database: The database under care, on whose server both are.
        live: Name of the live database.
        side: Name of the copy.

    Returns:
        The tables that differ or could not be compared, in order.
    """
    with paired(database, live, side) as pair:
        return compare_all(pair)


def compare_all(pair: Pair) -> tuple[TableDifference, ...]:
    """Compare all tables; see measure_differences."""
    found = [compare_table(pair, *table) for table in sorted(pair.in_live | pair.in_side)]
    return tuple(one for one in found if one.lost or one.deleted or one.unread)


def compare_table(pair: Pair, schema: str, name: str) -> TableDifference:
    """Compare one table.

    Args:
        pair: Both databases.
        schema: Name of its schema.
        name: Its name.

    Returns:
        How it differs; where it cannot be read, why.
    """
    shown, table = f"{schema}.{name}", sql.Identifier(schema, name)
    try:
        if (schema, name) not in pair.in_live:
            rows = pair.rows[shown] = _count(pair.side, table)
            return TableDifference(table=shown, deleted=rows, unread="" if rows else "missing")
        if (schema, name) not in pair.in_side:
            return TableDifference(table=shown, added=_count(pair.live, table))
        return _compare(pair, schema, name)
    except Transient:
        raise  # a lock or a lost connection says nothing about the rows
    except RemediationError as error:
        return TableDifference(table=shown, unread=f"cannot be read: {error.found}")


def hashes_of(pair: Pair, schema: str, name: str) -> Hashes:
    """Make the expressions by which a table of both is compared."""
    there, here = (read_columns(one, schema, name) for one in (pair.live, pair.side))
    return make_hashes(there, here, pair.live.info.server_version)


def _compare(pair: Pair, schema: str, name: str) -> TableDifference:
    shown, table = f"{schema}.{name}", sql.Identifier(schema, name)
    hashes = hashes_of(pair, schema, name)
    ours, theirs = pair.both(lambda session: read_buckets(session, table, hashes))
    pair.rows[shown] = sum(rows for rows, _ in theirs.values())
    differ = [one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)]
    if not differ:
        return TableDifference(table=shown)
    old, new = pair.both(lambda session: read_rows(session, table, hashes, differ))
    added, changed = find_lost(old, new, hashes)
    gone, _ = find_lost(new, old, hashes)
    return TableDifference(
        table=shown,
        added=sum(added.values()),
        changed=sum(changed.values()),
        deleted=sum(gone.values()),
        # Without a key a row's name would be all of it, for ever in the ledger.
        named=(*sorted(added), *sorted(changed))[:_NAMED] if hashes.keyed else (),
    )


def find_lost(old: Rows, new: Rows, hashes: Hashes) -> tuple[dict[str, int], dict[str, int]]:
    """Find what only the old side has, and what both have differently, with how many rows.

    Args:
        old: Number and hash of the rows of one side by key.
        new: Those of the other.
        hashes: Whether there is a key; where not, rows alike are told apart by their number.

    Returns:
        Rows added and rows changed, by key.
    """
    if not hashes.keyed:
        more = {key: rows - new.get(key, (0, 0))[0] for key, (rows, _) in old.items()}
        return {key: rows for key, rows in more.items() if rows > 0}, {}
    added = {key: rows for key, (rows, _) in old.items() if key not in new}
    both = old.keys() & new.keys()
    return added, {key: old[key][0] for key in both if old[key] != new[key]}


def _count(session: Connection, table: sql.Composable) -> int:
    row = session.execute(sql.SQL("SELECT count(*) AS n FROM ONLY {}").format(table)).fetchone()
    return int((row or {"n": 0})["n"])


def read_buckets(
    session: Connection, table: sql.Composable, hashes: Hashes
) -> dict[int, tuple[int, Any]]:
    """Give number and sum of the rows' hashes for each bucket of keys."""
    rows = session.execute(
        sql.SQL(
            "SELECT {} AS bucket, count(*) AS n, sum({}) AS hash FROM ONLY {} GROUP BY 1"
        ).format(hashes.bucket, hashes.row, table)
    ).fetchall()
    return {row["bucket"]: (row["n"], row["hash"]) for row in rows}


def read_rows(
    session: Connection, table: sql.Composable, hashes: Hashes, buckets: list[int]
) -> Rows:
    """Give number and hash of the rows in some buckets, by key.

    A set to look in, not `= ANY (array)`: that is searched from its start for each row.
    """
    rows = session.execute(
        sql.SQL(
            """SELECT {} AS key, count(*) AS n, sum({}) AS hash FROM ONLY {}
               WHERE {} IN (SELECT unnest({}::int4[])) GROUP BY 1"""
            # Not as a parameter: a name with a % in it would be read as one.
        ).format(hashes.shown, hashes.row, table, hashes.bucket, buckets)
    ).fetchall()
    return {row["key"]: (row["n"], row["hash"]) for row in rows}
