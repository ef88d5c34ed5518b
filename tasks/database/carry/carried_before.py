"""Rows that were carried over before, as the journals in the kept database tell."""

import re
from collections.abc import Mapping, Sequence

from psycopg import sql

from tasks.database.carry.marks import read_note, read_taking_back
from tasks.database.carry.row_moves import LANDED
from tasks.database.carry.table_shapes import Shape
from tasks.database.catalogue import find_database
from tasks.platforms.protocols import Connection

JOURNAL = re.compile(r"remedy_([a-z2-7]{10})")


def find_landed(kept: Connection, name: str) -> dict[str, list[sql.Identifier]]:
    """Find the tables of all journals whose rows were committed and not taken back.

    Args:
        kept: A session in the kept database.
        name: Name of that database.

    Returns:
        The tables with the rows that landed, by 'schema.table'.
    """
    facts, found = find_database(kept, name), dict[str, list[sql.Identifier]]()
    schemas = kept.execute("SELECT nspname::text AS name FROM pg_namespace").fetchall()
    for schema in sorted(row["name"] for row in schemas):
        journal = JOURNAL.fullmatch(schema)
        if facts is None or not journal or not _has_landed(kept, facts.comment, journal[1]):
            continue
        tables = kept.execute(
            sql.SQL("SELECT number, \"schema\" || '.' || name AS shown FROM {}").format(
                sql.Identifier(schema, "tables")
            )
        ).fetchall()
        for row in tables:
            landed = sql.Identifier(schema, f"{LANDED}_{row['number']}")
            found.setdefault(row["shown"], []).append(landed)
    return found


def _has_landed(session: Connection, comment: str, remediation: str) -> bool:
    note, back = read_note(comment, remediation), read_taking_back(comment, remediation)
    if note is None or (back is not None and _is_committed(session, back)):
        return False
    return note.is_done or _is_committed(session, note.xid)


def _is_committed(session: Connection, xid: int) -> bool:
    row = session.execute("SELECT pg_xact_status(%s::text::xid8) AS is", (str(xid),)).fetchone()
    return row is not None and row["is"] == "committed"


def read_landed(
    kept: Connection,
    shape: Shape,
    landed: Mapping[str, Sequence[sql.Identifier]],
    keys: Sequence[str],
) -> frozenset[str]:
    """Read which rows of a table were carried over before.

    Args:
        kept: A session in the kept database.
        shape: The table.
        landed: The tables of the journals.
        keys: Keys of the rows that are asked about.

    Returns:
        Those of them that were.
    """
    found: set[str] = set()
    for table in landed.get(shape.shown, ()):
        rows = kept.execute(
            sql.SQL("SELECT {} AS key FROM {} AS c").format(shape.key_of("c"), table)
        ).fetchall()
        found.update(row["key"] for row in rows)
    return frozenset(found.intersection(keys))
