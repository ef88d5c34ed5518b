"""The statements by which carried rows are written to live."""

from collections.abc import Mapping, Sequence

from psycopg import sql

from tasks.database.carry.kept_rows import is_newer
from tasks.database.carry.row_moves import FORMER, KEYS, ROWS, make_temporary, temporary
from tasks.database.carry.sides import Sessions
from tasks.database.carry.table_shapes import Shape, in_order, read_references
from tasks.platforms.protocols import Connection


def numbers_in_order(live: Connection, shapes: Mapping[int, Shape]) -> list[int]:
    """Give the numbers of tables in the order of their foreign keys, parents first."""
    by_oid = {shape.oid: number for number, shape in shapes.items()}
    return [by_oid[shape.oid] for shape in in_order(shapes.values(), read_references(live))]


def take_former(sessions: Sessions, number: int, shape: Shape) -> list[str]:
    """Take the rows of live that are to be changed, locked, into a temporary table.

    Returns:
        Keys of those that somebody has changed or deleted since they were compared.
    """
    live = sessions.live
    goal = make_temporary(live, FORMER, number, shape)
    wanted = sql.SQL(
        "FROM ONLY {table} AS t JOIN {rows} AS c ON {same} JOIN {keys} AS k "
        "ON k.i = {number} AND NOT k.is_new AND k.key = {key}"
    ).format(
        table=shape.table,
        rows=temporary(ROWS, number),
        same=shape.same_key("t", "c"),
        keys=KEYS,
        number=number,
        key=shape.key_of("c"),
    )
    live.execute(sql.SQL("SELECT 1 {} FOR UPDATE OF t").format(wanted))
    live.execute(
        sql.SQL("INSERT INTO {} SELECT {} {} WHERE NOT {}").format(
            goal,
            shape.listed("t"),
            wanted,
            is_newer("t", sessions.swapped, sessions.back),
        )
    )
    rows = live.execute(
        sql.SQL(
            "SELECT k.key FROM {} AS k WHERE k.i = {} AND NOT k.is_new "
            "AND NOT EXISTS (SELECT FROM {} AS f WHERE {} = k.key)"
        ).format(KEYS, number, goal, shape.key_of("f"))
    ).fetchall()
    return [row["key"] for row in rows]


def write_rows(number: int, shape: Shape, keys: Sequence[str] = ()) -> sql.Composed:
    """Write the statement that changes and inserts a table's rows, or only those of some keys.

    It is one statement: values that a change sets free are free for what is inserted, and
    foreign keys within the table are looked at when both are done.
    """
    rows, former = temporary(ROWS, number), temporary(FORMER, number)
    only: sql.Composable = sql.SQL("true")
    if keys:
        only = sql.SQL("{} IN (SELECT unnest({}::text[]))").format(shape.key_of("c"), list(keys))
    change: sql.Composable = sql.SQL("SELECT 1")
    if shape.set_columns:
        change = sql.SQL(
            "UPDATE ONLY {} AS t SET {} FROM {} AS c JOIN {} AS f ON {} WHERE {} AND {} RETURNING 1"
        ).format(
            shape.table,
            set_from(shape, "c"),
            rows,
            former,
            shape.same_key("f", "c"),
            shape.same_key("t", "c"),
            only,
        )
    return sql.SQL(
        """WITH changed AS ({change})
           INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {rows} AS c
           WHERE (SELECT count(*) FROM changed) >= 0 AND {only}
             AND {key} IN (SELECT key FROM {keys} WHERE i = {number} AND is_new)"""
    ).format(
        change=change,
        table=shape.table,
        columns=shape.listed(),
        values=shape.listed("c"),
        rows=rows,
        only=only,
        key=shape.key_of("c"),
        keys=KEYS,
        number=number,
    )


def set_from(shape: Shape, alias: str) -> sql.Composed:
    """Write what an UPDATE sets, from the columns of an alias."""
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(one), sql.Identifier(alias, one))
        for one in shape.set_columns
    )
