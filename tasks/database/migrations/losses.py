"""What a schema loses by a revision: tables and columns, and how much live holds in them now."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.guardrails.plan import Limit, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

# Schema, table, column; the column is '' where the whole table goes.
Dropped = tuple[str, str, str]
# By the identity of table and column, so that what is only renamed is not taken for lost.
Held = Mapping[tuple[int, int], Dropped]
# What a policy hides from us is not nothing: the count then fails.
_COUNTING = {**NO_TIMEOUTS, "default_transaction_read_only": "on", "row_security": "off"}


def read_held(session: Connection) -> dict[tuple[int, int], Dropped]:
    """Read the columns in which a database holds data; what is generated is derived of others.

    Args:
        session: A session in the database.

    Returns:
        Schema, table and column by the table's OID and the column's number.
    """
    rows = session.execute(
        """SELECT c.oid::bigint AS relation, a.attnum AS number, n.nspname AS schema,
             c.relname AS name, a.attname AS col
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND a.attgenerated = ''
             AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""
    ).fetchall()
    return {
        (row["relation"], row["number"]): (row["schema"], row["name"], row["col"]) for row in rows
    }


def find_dropped(before: Held, after: Held) -> tuple[Dropped, ...]:
    """Find what was there before and is not there any more.

    Args:
        before: The columns before.
        after: The columns after.

    Returns:
        Tables, and columns of tables that stay, in order.
    """
    left = {relation for relation, _ in after}
    gone = set()
    for key, (schema, name, column) in before.items():
        if key[0] not in left:
            gone.add((schema, name, ""))
        elif key not in after:
            gone.add((schema, name, column))
    return tuple(sorted(gone))


def count_held(
    database: Database, name: str, dropped: Iterable[Dropped]
) -> dict[Dropped, int | None]:
    """Count the rows of tables, and the values of columns that are not NULL.

    Args:
        database: The database under care.
        name: Name of the database in which is counted.
        dropped: What is counted.

    Returns:
        The count of each; None where the database has none of that name.

    Raises:
        RemediationError: A table cannot be read, or a policy hides rows of it.
    """
    found: dict[Dropped, int | None] = dict.fromkeys(dropped)
    with connect_with(database, name, _COUNTING) as session:
        there = set(read_held(session).values())
        tables = {(schema, table, "") for schema, table, _ in there}
        wanted = [one for one in found if one in there or one in tables]
        for table in sorted({one[:2] for one in wanted}):
            of_table = [one for one in wanted if one[:2] == table]
            row = session.execute(_counting(table, [one[2] for one in of_table])).fetchone()
            found |= {one: int((row or {})[f"n{at}"]) for at, one in enumerate(of_table)}
    return found


def _counting(table: tuple[str, str], columns: list[str]) -> sql.Composed:
    """Count in one scan; its partitions are tables of their own."""
    counts = [
        sql.SQL("count({}) AS {}").format(
            sql.Identifier(column) if column else sql.SQL("*"), sql.Identifier(f"n{at}")
        )
        for at, column in enumerate(columns)
    ]
    return sql.SQL("SELECT {} FROM ONLY {}").format(
        sql.SQL(", ").join(counts), sql.Identifier(*table)
    )


def name_dropped(dropped: Dropped) -> str:
    """Name a table, or a column with its table."""
    schema, table, column = dropped
    where = f"{schema}.{table}"
    return f"column {column} of {where}" if column else f"table {where}"


class ValuesDropped(Limit):
    """Rows of tables, and values of columns, that revisions drop.

    Args:
        live: Name of the live database.
        dropped: Schema, table and column ('' for all of it) of each.
    """

    kind: ClassVar[str] = "database.values_dropped"

    live: str
    dropped: tuple[Dropped, ...]

    @property
    def title(self) -> str:
        """What is limited."""
        return "rows and values in what is dropped"

    def measure(self, work: Work) -> float:
        """Count what of it is still there."""
        counted = count_held(targets.load(work.target).database, self.live, self.dropped)
        return float(sum(one or 0 for one in counted.values()))
