"""Sequences of two databases: the greater value of both counts on."""

from typing import Any

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
    """Bring every sequence that we may set to the greater of its own and a given value.

    Args:
        session: A session in the database.
        values: Values that they should have reached; of sequences it lacks they are left out.

    Returns:
        How many were raised.
    """
    rows = _read(session)
    may = {(row["schema"], row["name"]): row["down"] for row in rows if row["may_set"]}
    behind = [(key, value) for key, value in _behind_of(rows, values) if key in may]
    for key, value in behind:
        # In one statement with what it reads: users go on to take numbers.
        session.execute(
            # Not as a parameter: a name with a % in it would be read as one.
            sql.SQL(
                "SELECT setval({name}::regclass, {further}({value}, last_value), "
                "is_called OR {further}({value}, last_value) = {value}) FROM {sequence}"
            ).format(
                name=sql.Identifier(*key).as_string(session),
                further=sql.SQL("least" if may[key] else "greatest"),
                value=value,
                sequence=sql.Identifier(*key),
            )
        )
    return len(behind)


def _read(session: Connection) -> list[dict[str, Any]]:
    return session.execute(
        """SELECT s.schemaname AS schema, s.sequencename AS name, s.last_value AS value,
             s.start_value AS start, s.increment_by < 0 AS down,
             has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'UPDATE')
               AND has_table_privilege(c.oid, 'SELECT') AS may_set
           FROM pg_sequences s JOIN pg_namespace n ON n.nspname = s.schemaname
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename"""
    ).fetchall()


def _behind(
    session: Connection, values: dict[tuple[str, str], int]
) -> list[tuple[tuple[str, str], int]]:
    return _behind_of(_read(session), values)


def _behind_of(
    rows: list[dict[str, Any]], values: dict[tuple[str, str], int]
) -> list[tuple[tuple[str, str], int]]:
    found = []
    for row in rows:
        key = (row["schema"], row["name"])
        wanted = values.get(key)
        if wanted is None:
            continue
        down, own = row["down"], row["value"]
        if own is None:  # unused: its first number is the start
            own = row["start"] + (1 if down else -1)
        if wanted < own if down else wanted > own:
            found.append((key, wanted))
    return found
