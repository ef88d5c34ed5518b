"""Indexes that no query uses, as a report: none is dropped by itself."""

from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.protocols import Connection

_SHOWN = 30


def find_unused_indexes(session: Connection) -> Finding:
    """List the indexes that no scan has used since the statistics were reset.

    Those that keep keys unique or stand for a constraint are left out: they serve writes.

    Args:
        session: A session in the database.
    """
    since = measured_since(session)
    rows = session.execute(
        """SELECT s.schemaname || '.' || s.indexrelname AS name, s.relname AS table,
             coalesce(pg_relation_size(s.indexrelid), 0) AS size
           FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
           WHERE s.idx_scan = 0 AND NOT i.indisunique AND NOT i.indisexclusion
             AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = s.indexrelid)
             AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = s.indexrelid)
           ORDER BY 3 DESC, 1"""
    ).fetchall()
    size = sum(row["size"] for row in rows)
    return Finding(
        what=f"{counted(len(rows), 'index', 'indexes')} of {size / 1e6:,.1f} MB that no scan has "
        f"used since {since}; unique ones and those of constraints are not counted. That is what "
        "idx_scan = 0 says of an index; it says nothing of missing ones. None is dropped here: "
        "each server counts its own scans, so ask the replicas too, and an index of a monthly "
        "report is used monthly.",
        how="pg_stat_user_indexes.idx_scan, pg_stat_database.stats_reset",
        columns=("index", "table", "MB") if rows else (),
        rows=tuple(
            (row["name"], row["table"], f"{row['size'] / 1e6:,.1f}") for row in rows[:_SHOWN]
        ),
    )


def measured_since(session: Connection) -> str:
    """Say since when the statistics of the database count."""
    row = session.execute(
        """SELECT to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS since
           FROM pg_stat_database WHERE datname = current_database()"""
    ).fetchone()
    since = row["since"] if row else None
    return f"{since} UTC" if since else "the database was made"
