"""A comparison to count on: what was lost then, so that later only what is newer is compared.

Rows carry the transaction that wrote them (xmin). A row of live that is visible now and older
than every transaction that was open at the comparison was visible then, too, and is counted
in it already; the copy stands as it stood where it has as many rows and none that is newer.
"""

from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.copies.differences import (
    Pair,
    TableDifference,
    compare_all,
    compare_table,
    find_lost,
    hashes_of,
    paired,
    read_rows,
)
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.protocols import Connection, Database

_FAR = 1_000_000_000  # transactions; half the circle within which older and newer are told apart
_NOW = """
    SELECT txid_snapshot_xmin(txid_current_snapshot()) AS oldest,
      (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS oid,
      coalesce((SELECT backend_start::text FROM pg_stat_activity
                WHERE backend_type = 'checkpointer'), '') AS server"""
# Vacuum and analyse write pg_class in place: they leave xmin as it is.
_ALTERED = """
    SELECT EXISTS (SELECT FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid
                   WHERE c.relkind = 'r' AND c.relpersistence <> 't'
                     AND (age(c.xmin) <= h.age OR age(a.xmin) <= h.age))
        OR EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                   WHERE c.relpersistence <> 't' AND age(i.xmin) <= h.age)
        OR EXISTS (SELECT FROM pg_type WHERE typtype IN ('e', 'd') AND age(xmin) <= h.age)
        OR EXISTS (SELECT FROM pg_enum WHERE age(xmin) <= h.age) AS is
    FROM (SELECT age({}::xid) AS age) h"""


class Baseline(BaseModel):
    """What a comparison found, and how what is newer than it is recognised.

    Args:
        server: When the server's checkpointer started, by which a restart is recognised: after a
            crash numbers of lost transactions are given again. '' where it may not be read.
        live_oid: OID of the live database.
        side_oid: OID of the copy.
        oldest: The oldest transaction that was open before the comparison began.
        rows: Rows of the copy by 'schema.table', of the tables that were compared.
        lost: Rows of live that the copy had not or had differently, of those above 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str
    live_oid: int
    side_oid: int
    oldest: int
    rows: dict[str, int]
    lost: dict[str, int]


def compare_databases(
    database: Database, live: str, side: str
) -> tuple[tuple[TableDifference, ...], Baseline]:
    """Compare all tables of two databases, for now and for later.

    Args:
        database: The database under care, on whose server both are.
        live: Name of the live database.
        side: Name of the copy.

    Returns:
        The tables that differ or could not be compared, and the baseline for `lost_since`.
    """
    with paired(database, live, side) as pair:
        there, here = _now(pair.live), _now(pair.side)
        found = compare_all(pair)
        unread = {one.table for one in found if one.unread}
        return found, Baseline(
            server=there["server"],
            live_oid=there["oid"],
            side_oid=here["oid"],
            oldest=min(there["oldest"], here["oldest"]),
            rows={table: n for table, n in pair.rows.items() if table not in unread},
            lost={one.table: one.lost for one in found if one.lost},
        )


def lost_since(database: Database, live: str, side: str, then: Baseline) -> int | None:
    """Count the rows of live that the copy has not or has differently, from a baseline on.

    Args:
        database: The database under care.
        live: Name of the live database.
        side: Name of the copy.
        then: The baseline.

    Returns:
        At least as many as there are: a row that was lost then and was written again counts
        twice. None where the baseline does not hold any more, and all has to be compared.
    """
    with paired(database, live, side) as pair:
        if not _holds(pair, then):
            return None
        return sum(_lost_of(pair, then, *table) for table in sorted(pair.in_live))


def _now(session: Connection) -> dict[str, Any]:
    return session.execute(_NOW).fetchone() or {}


def _holds(pair: Pair, then: Baseline) -> bool:
    """Say whether it is the same server, still running, with both schemas as they were."""
    there, here = _now(pair.live), _now(pair.side)
    same = (there["server"], there["oid"], here["oid"]) == (
        then.server,
        then.live_oid,
        then.side_oid,
    )
    if not (then.server and same and 0 <= there["oldest"] - then.oldest < _FAR):
        return False
    query = sql.SQL(_ALTERED).format(_xid(then))
    return not any(
        (session.execute(query).fetchone() or {"is": True})["is"]
        for session in (pair.live, pair.side)
    )


def _xid(then: Baseline) -> str:
    return str(then.oldest % 2**32)


def _lost_of(pair: Pair, then: Baseline, schema: str, name: str) -> int:
    shown = f"{schema}.{name}"
    before = then.lost.get(shown, 0)
    if shown not in then.rows:
        return compare_table(pair, schema, name).lost
    table = sql.Identifier(schema, name)
    newer = sql.SQL("age(xmin) <= (SELECT age({}::xid))").format(_xid(then))
    count = sql.SQL(
        "SELECT count(*) AS n, count(*) FILTER (WHERE {}) AS newer FROM ONLY {}"
    ).format(newer, table)
    try:
        there, here = pair.both(lambda session: session.execute(count).fetchone() or {})
        if here["newer"] or here["n"] != then.rows[shown]:
            return compare_table(pair, schema, name).lost
        return before + (_lost_among(pair, schema, name, newer) if there["newer"] else 0)
    except Transient:
        raise
    except RemediationError:  # a page that was damaged meanwhile
        return max(before, compare_table(pair, schema, name).lost)


def _lost_among(pair: Pair, schema: str, name: str, newer: sql.Composable) -> int:
    """Compare only the newer rows of live with the copy."""
    table, hashes = sql.Identifier(schema, name), hashes_of(pair, schema, name)
    rows = pair.live.execute(
        sql.SQL(
            """SELECT {} AS key, {} AS bucket, count(*) AS n, sum({}) AS hash FROM ONLY {}
               WHERE {} GROUP BY 1, 2"""
        ).format(hashes.shown, hashes.bucket, hashes.row, table, newer)
    ).fetchall()
    old = {row["key"]: (row["n"], row["hash"]) for row in rows}
    if not hashes.keyed:  # of rows alike nobody can say which are the newer ones
        return sum(n for n, _ in old.values())
    new = read_rows(pair.side, table, hashes, sorted({row["bucket"] for row in rows}))
    added, changed = find_lost(old, new, hashes)
    return sum(added.values()) + sum(changed.values())
