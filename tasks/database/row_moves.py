"""Rows on their way between two databases of one server, in temporary tables of a transaction."""

from collections.abc import Mapping, Sequence

from psycopg import sql

from tasks.database.catalogue import connect_with
from tasks.database.kept_rows import Later
from tasks.database.table_shapes import (
    Reference,
    Shape,
    equal,
    is_parent,
    read_references,
)
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
_UNIQUE = """
    SELECT i.indexrelid::int8 AS oid, c.relname AS name, i.indnkeyatts AS n,
      pg_get_expr(i.indpred, i.indrelid) AS condition,
      ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false)
            FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS terms
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = %s::int8 AND i.indisunique AND NOT i.indisprimary AND i.indisvalid
    ORDER BY c.relname"""


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


def remove_misfits(live: Connection, tables: Mapping[int, Shape]) -> dict[tuple[int, str], str]:
    """Take the rows out that live's constraints would refuse, until none is left.

    Args:
        live: A session of live with the rows in temporary tables.
        tables: The tables by the numbers of those.

    Returns:
        Why a row was taken out, by number of the table and key.
    """
    references, found = read_references(live), dict[tuple[int, str], str]()
    while True:
        bad: dict[tuple[int, str], str] = {}
        for number, shape in tables.items():
            for reference in references:
                if reference.child == shape.oid:
                    for key in _orphans(live, number, tables, reference):
                        bad[number, key] = (
                            f"what it points at is in neither database ({reference.name})"
                        )
            bad |= _twice(live, number, shape)
        if not bad:
            return found
        found |= bad
        take_out(live, tables, bad)


def take_out(
    live: Connection, tables: Mapping[int, Shape], rows: Mapping[tuple[int, str], str]
) -> None:
    """Take rows out of the temporary tables."""
    for number, shape in tables.items():
        keys = [key for at, key in rows if at == number]
        live.execute(  # not as a parameter: a name with a % in it would be read as one
            sql.SQL("DELETE FROM {} AS c WHERE {} = ANY ({}::text[])").format(
                temporary(ROWS, number), shape.key_of("c"), keys
            )
        )
        live.execute(
            sql.SQL("DELETE FROM {} WHERE i = %s AND key = ANY (%s)").format(KEYS), (number, keys)
        )


def _orphans(
    live: Connection, number: int, tables: Mapping[int, Shape], reference: Reference
) -> list[str]:
    """Find rows whose foreign key leads to nothing in live or among the rows carried over."""
    shape = tables[number]
    given = sql.SQL(" AND ").join(
        sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", one)) for one in reference.columns
    )
    places = [reference.table]
    places += [temporary(ROWS, n) for n, one in tables.items() if is_parent(one, reference)]
    nowhere = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} AS p WHERE {})").format(
            place, equal("p", reference.keys, "c", reference.columns)
        )
        for place in places
    )
    rows = live.execute(
        sql.SQL("SELECT {} AS key FROM {} AS c WHERE {} AND {}").format(
            shape.key_of("c"), temporary(ROWS, number), given, nowhere
        )
    ).fetchall()
    return [row["key"] for row in rows]


def _twice(live: Connection, number: int, shape: Shape) -> dict[tuple[int, str], str]:
    """Find rows that would be in a unique index twice: with one of live that stays as it is."""
    found: dict[tuple[int, str], str] = {}
    for index in live.execute(_UNIQUE, (shape.oid,)).fetchall():
        # Terms and condition are the server's own text, over the table's columns.
        terms = [sql.SQL(term) for term in index["terms"]]
        names: Sequence[str] = [f"remedy_{at}" for at in range(len(terms))]
        listed = sql.SQL(", ").join(
            sql.SQL("({}) AS {}").format(term, sql.Identifier(name))
            for term, name in zip(terms, names, strict=True)
        )
        side = sql.SQL("SELECT {} AS remedy_key, {} FROM {} AS t WHERE {}")
        condition = sql.SQL(index["condition"] or "true")
        rows = live.execute(
            sql.SQL(
                """SELECT DISTINCT c.remedy_key AS key FROM ({}) AS c JOIN ({}) AS o ON {}
                   WHERE c.remedy_key <> o.remedy_key AND o.remedy_key NOT IN (
                     SELECT key FROM {} WHERE i = {} AND NOT is_new)"""
            ).format(
                side.format(shape.key_of("t"), listed, temporary(ROWS, number), condition),
                side.format(shape.key_of("t"), listed, shape.table, condition),
                equal("c", names, "o", names),
                KEYS,
                number,
            )
        ).fetchall()
        for row in rows:
            found[number, row["key"]] = f"another row of live has its {index['name']}"
    return found
