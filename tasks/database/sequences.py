"""Sequences of two databases: the greater value of both counts on."""

from psycopg import sql

from tasks.platforms.protocols import Connection


def read_sequences(session: Connection) -> dict[tuple[str, str], int]:
    """Read the last value of every sequence that was used; those we may not read are left out.

    Args:
        session: A session in the database.

    Returns:
        The last value by schema and name.
    """
    rows = session.execute(
        """SELECT schemaname AS schema, sequencename AS name, last_value AS value
           FROM pg_sequences WHERE last_value IS NOT NULL"""
    ).fetchall()
    return {(row["schema"], row["name"]): int(row["value"]) for row in rows}


def find_behind(session: Connection, values: dict[tuple[str, str], int]) -> dict[str, int]:
    """Find the sequences that stand behind given values.

    Args:
        session: A session in the database.
        values: Values that they should have reached.

    Returns:
        The value to be reached, by 'schema.name'.
    """
    return {f"{schema}.{name}": value for (schema, name), value in _behind(session, values)}


def raise_sequences(session: Connection, values: dict[tuple[str, str], int]) -> int:
    """Bring every sequence to the greater of its own and a given value.

    Args:
        session: A session in the database.
        values: Values that they should have reached; of sequences it lacks they are left out.

    Returns:
        How many were raised.
    """
    behind = _behind(session, values)
    for (schema, name), value in behind:
        session.execute(
            sql.SQL("SELECT setval({}, %s, true)").format(
                sql.SQL("{}::regclass").format(sql.Identifier(schema, name).as_string(session))
            ),
            (value,),
        )
    return len(behind)


def _behind(
    session: Connection, values: dict[tuple[str, str], int]
) -> list[tuple[tuple[str, str], int]]:
    rows = session.execute(
        """SELECT schemaname AS schema, sequencename AS name, last_value AS value,
             increment_by < 0 AS down FROM pg_sequences"""
    ).fetchall()
    found = []
    for row in rows:
        key = (row["schema"], row["name"])
        wanted = values.get(key)
        own = row["value"]
        if wanted is not None and (own is None or (wanted < own if row["down"] else wanted > own)):
            found.append((key, wanted))
    return found
