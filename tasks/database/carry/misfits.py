"""Rows that live's constraints refuse, or that would be attached to another row than theirs."""

from collections.abc import Mapping, Sequence

from psycopg import sql

from tasks.database.carry.kept_rows import Uncertain
from tasks.database.carry.row_moves import KEYS, ROWS, temporary
from tasks.database.carry.table_shapes import (
    Reference,
    Shape,
    equal,
    is_parent,
    read_references,
)
from tasks.platforms.protocols import Connection

_ANOTHER = "what it points at may be another row in live"
_UNIQUE = """
    SELECT i.indexrelid::int8 AS oid, c.relname AS name, i.indnkeyatts AS n,
      pg_get_expr(i.indpred, i.indrelid) AS condition,
      ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false)
            FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS terms
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = %s::int8 AND i.indisunique AND NOT i.indisprimary AND i.indisvalid
    ORDER BY c.relname"""


def remove_misfits(
    live: Connection, tables: Mapping[int, Shape], uncertain: Sequence[Uncertain]
) -> dict[tuple[int, str], str]:
    """Take the rows out that live's constraints would refuse, until none is left.

    Args:
        live: A session of live with the rows in temporary tables.
        tables: The tables by the numbers of those.
        uncertain: Rows of live to which none of these is to be attached.

    Returns:
        Why a row was taken out, by number of the table and key.
    """
    references = read_references(live)
    found = {
        (number, key): f"{_ANOTHER} ({reference.name})"
        for number in tables
        for reference in references
        for shape, keys in uncertain
        if reference.child == tables[number].oid and is_parent(shape, reference)
        for key in _attached(live, number, tables[number], reference, shape, keys)
    }
    take_out(live, tables, found)
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


def _attached(
    live: Connection,
    number: int,
    shape: Shape,
    reference: Reference,
    parent: Shape,
    keys: Sequence[str],
) -> list[str]:
    """Find rows whose foreign key leads to one of some rows of live, where it did not before."""
    rows = live.execute(
        sql.SQL(
            """SELECT {key} AS key FROM {rows} AS c JOIN ONLY {parent} AS p ON {points}
               WHERE {parents_key} IN (SELECT unnest({keys}::text[]))
                 AND NOT EXISTS (SELECT FROM ONLY {table} AS t WHERE {same} AND {as_before})"""
        ).format(
            key=shape.key_of("c"),
            rows=temporary(ROWS, number),
            parent=parent.table,
            points=equal("p", reference.keys, "c", reference.columns),
            parents_key=parent.key_of("p"),
            keys=list(keys),
            table=shape.table,
            same=shape.same_key("t", "c"),
            as_before=equal("t", reference.columns, "c", reference.columns),
        )
    ).fetchall()
    return [row["key"] for row in rows]


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
