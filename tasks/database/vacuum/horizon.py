"""Who keeps dead rows of a database from being removed.

Source: PostgreSQL manual 25.1.2 (recovering disk space), 54.19 (pg_replication_slots).
"""

from typing import NamedTuple

from tasks.guardrails.plan import Finding
from tasks.platforms.protocols import Connection

_HOLDS_TRANSACTIONS = 1000
_ROWS, _CATALOGUE = "rows", "rows of the system catalogues, and of no other table,"
# Of the sessions of others pid, user, database and transactions can be seen by everybody.
_HOLDERS = f"""
    SELECT CASE WHEN backend_type IS NULL
        THEN format('session %s of %s (what it does cannot be seen without pg_read_all_stats)',
          pid, usename)
        ELSE format('session %s of %s (%s), in a transaction for %s s', pid, usename, state,
          extract(epoch FROM clock_timestamp() - xact_start)::int) END AS who,
      '{_ROWS}' AS what, greatest(age(backend_xmin), age(backend_xid)) AS age
    FROM pg_stat_activity
    WHERE coalesce(backend_xmin, backend_xid) IS NOT NULL AND pid <> pg_backend_pid()
      AND (backend_type = 'walsender'
           OR backend_type = 'client backend' AND datname = current_database()
           OR backend_type IS NULL AND usename IS NOT NULL
             AND coalesce(datname, current_database()) = current_database())
    UNION ALL
    SELECT format('replication slot %s', slot_name), '{_ROWS}', age(xmin)
    FROM pg_replication_slots WHERE xmin IS NOT NULL
    UNION ALL
    SELECT format('replication slot %s', slot_name), '{_CATALOGUE}', age(catalog_xmin)
    FROM pg_replication_slots WHERE catalog_xmin IS NOT NULL
    UNION ALL
    SELECT format('prepared transaction %s of %s', gid, owner), '{_ROWS}', age(transaction)
    FROM pg_prepared_xacts WHERE database = current_database()
    ORDER BY 3 DESC"""  # noqa: S608 - constants of this file


class Holder(NamedTuple):
    """Who keeps rows.

    Args:
        who: A session, a slot, or a prepared transaction.
        what: Which rows.
        age: In transactions.
    """

    who: str
    what: str
    age: int


def find_horizon_holders(session: Connection) -> list[Holder]:
    """Find who keeps dead rows from being removed: sessions, slots, prepared transactions.

    Args:
        session: A session in the database.
    """
    rows = session.execute(_HOLDERS).fetchall()
    return [Holder(row["who"], row["what"], int(row["age"])) for row in rows]


def describe_horizon(session: Connection) -> list[Finding]:
    """Name who keeps rows from being removed: what they may still see is left, or written anew.

    Args:
        session: A session in the database.
    """
    return [
        Finding(
            what=f"{one.who} keeps {one.what} that died in the last {one.age:,} transactions.",
            how="pg_stat_activity, pg_replication_slots, pg_prepared_xacts",
        )
        for one in find_horizon_holders(session)
        if one.age > _HOLDS_TRANSACTIONS
    ]
