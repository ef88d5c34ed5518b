"""Columns whose values may be too long for an index: it would make later writes fail.

Source: PostgreSQL manual 65.1 (B-Tree indexes: an entry may take a third of a page).
"""

from collections.abc import Sequence

from tasks.database.indexes.statistics import Heap
from tasks.platforms.protocols import Connection

# Bytes of a key that an entry holds for certain; about 2,700 are the limit with its head.
_MOST_KEY = 2600
# Of no fixed length in the catalogue, and short in practice (numeric) or by what they are.
_SHORT_TYPES = (
    "numeric",
    "inet",
    "cidr",
    "int4range",
    "int8range",
    "numrange",
    "daterange",
    "tsrange",
    "tstzrange",
)
_SHORT = 64


def find_long(session: Connection, heap: Heap, columns: Sequence[str]) -> tuple[str, ...]:
    """Find the columns of a key that their types allow to be too long for an index together.

    What the statistics say does not count: a later row may be longer, and its INSERT would fail.

    Args:
        session: A session in the database.
        heap: Their table.
        columns: The columns.

    Returns:
        Those without which the key is short enough for certain; none where it is.
    """
    rows = session.execute(
        """WITH RECURSIVE typed AS (
             SELECT a.attname::text AS name, a.attlen::int AS length, a.atttypid AS type,
               a.atttypmod AS modifier
             FROM pg_attribute a WHERE a.attrelid = %(oid)s AND a.attnum > 0
               AND NOT a.attisdropped AND a.attname = ANY (%(columns)s)
             UNION ALL -- a domain is what it is of
             SELECT b.name, b.length, t.typbasetype,
               CASE WHEN b.modifier < 0 THEN t.typtypmod ELSE b.modifier END
             FROM typed b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd')
           SELECT b.name, CASE
               WHEN b.length > 0 THEN b.length
               WHEN t.typnamespace <> 'pg_catalog'::regnamespace THEN NULL
               WHEN t.typname IN ('varchar', 'bpchar') AND b.modifier > 4
                 THEN 4 + (b.modifier - 4)::bigint * pg_encoding_max_length(d.encoding)
               WHEN t.typname IN ('bit', 'varbit') AND b.modifier > 0 THEN 9 + b.modifier / 8
               WHEN t.typname = ANY (%(short_types)s) THEN %(short)s
             END::float AS bytes
           FROM typed b JOIN pg_type t ON t.oid = b.type, pg_database d
           WHERE t.typtype <> 'd' AND d.datname = current_database()
           ORDER BY 2 NULLS LAST, 1""",
        {
            "oid": heap.oid,
            "columns": list(columns),
            "short_types": list(_SHORT_TYPES),
            "short": _SHORT,
        },
    ).fetchall()
    taken, found = 0.0, []
    for row in rows:
        taken += float("inf") if row["bytes"] is None else row["bytes"]
        if taken > _MOST_KEY:
            found.append(row["name"])
    return tuple(found)
