"""Rows on their way between two databases of one server, in temporary tables of a transaction."""

from collections.abc import Mapping

from psycopg import sql

from tasks.database.carry.kept_rows import Later
from tasks.database.carry.table_shapes import Shape
from tasks.database.catalogue import connect_with
from tasks.platforms.protocols import Connection, Database

ROWS, FORMER, LANDED = "remedy_rows", "remedy_former", "remedy_landed"
KEYS = sql.Identifier("pg_temp", "remedy_keys")
# How values are written has to be the same on both sides; users must not wait for us for long.
SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "default_transaction_read_only": "off",
    "row_security": "off",
    "lock_timeout": "2s",
    "statement_timeout": "120s",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
}


def open_kept(database: Database, kept: str) -> Connection:
    """Connect to the kept database, to read its rows and to note what is done with them."""
    return connect_with(database, kept, SETTINGS)


def open_live(database: Database, live: str, owner: str) -> Connection:
    """Connect to live and write as its owner: triggers run with no other rights than his."""
    session = connect_with(database, live, SETTINGS)
    session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
    return session


def temporary(kind: str, number: int) -> sql.Identifier:
    """Name a temporary table."""
    return sql.Identifier("pg_temp", f"{kind}_{number}")


def make_temporary(session: Connection, kind: str, number: int, shape: Shape) -> sql.Identifier:
    """Make an empty temporary table with the columns of a table, until the transaction ends."""
    name = sql.Identifier(f"{kind}_{number}")
    session.execute(
        sql.SQL(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM ONLY {} WITH NO DATA"
        ).format(name, shape.listed(), shape.table)
    )
    return temporary(kind, number)


def move(
    source: Connection, query: sql.Composable, goal: Connection, table: sql.Composable, shape: Shape
) -> None:
    """Stream the rows of a query into a table of another database.

    Args:
        source: A session where the query is asked.
        query: Gives the columns that the shape lists.
        goal: A session of the other database.
        table: The table there.
        shape: The table's shape.
    """
    out = sql.SQL("COPY ({}) TO STDOUT").format(query)
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(table, shape.listed())
    with (
        source.cursor() as there,
        goal.cursor() as here,
        there.copy(out) as reader,
        here.copy(into) as writer,
    ):
        for block in reader:
            writer.write(block)


def load_rows(kept: Connection, live: Connection, tables: Mapping[int, Later]) -> None:
    """Bring the rows that are to be carried over into temporary tables of live's session."""
    live.execute("CREATE TEMP TABLE remedy_keys (i int, key text, is_new bool) ON COMMIT DROP")
    for number, one in tables.items():
        goal = make_temporary(live, ROWS, number, one.shape)
        for keys, is_new in ((one.new, True), (one.changed, False)):
            live.execute(
                sql.SQL("INSERT INTO {} SELECT %s, k, %s FROM unnest(%s::text[]) k").format(KEYS),
                (number, is_new, list(keys)),
            )
        kept.execute("CREATE TEMP TABLE IF NOT EXISTS remedy_wanted (key text)")
        kept.execute("TRUNCATE pg_temp.remedy_wanted")
        # As a parameter: a COPY is kept by pg_stat_statements with the values in it.
        kept.execute(
            "INSERT INTO pg_temp.remedy_wanted SELECT unnest(%s::text[])",
            ([*one.new, *one.changed],),
        )
        query = sql.SQL(
            "SELECT {} FROM ONLY {} AS t WHERE {} IN (SELECT key FROM pg_temp.remedy_wanted)"
        ).format(one.shape.listed("t"), one.shape.table, one.shape.key_of("t"))
        move(kept, query, live, goal, one.shape)
        live.execute(
            sql.SQL("CREATE INDEX ON {} ({})").format(goal, one.shape.listed("", one.shape.key))
        )
        live.execute(sql.SQL("ANALYZE {}").format(goal))
    live.execute(sql.SQL("ANALYZE {}").format(KEYS))
