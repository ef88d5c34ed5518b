"""What was written to a database since a cut-over, seen by its rows themselves.

Every row carries the transaction that wrote it (xmin), so that what is newer than the swap's
transaction is counted exactly, whatever became of the server's statistics in between.
"""

import re
from dataclasses import dataclass

from psycopg import sql

from tasks.database.catalogue import connect_with, find_tables
from tasks.database.copies.differences import SETTINGS
from tasks.guardrails.plan import Loss
from tasks.platforms.protocols import Connection, Database, ProbeAccount

_XID = re.compile(r"swapped at xid (\d+)")
_MOST_READ = 10_000


@dataclass(frozen=True)
class Written:
    """What happened to a table since the cut-over.

    Args:
        table: 'schema.table'.
        new: Rows written, as new or as new versions.
        gone: Rows of the cut-over that were replaced or deleted.
    """

    table: str
    new: int
    gone: int


def swap_transaction(comment: str) -> int:
    """Read the transaction of the swap from a kept database's comment, a number of 32 bits."""
    found = _XID.search(comment)
    return int(found[1]) if found else 3  # unknown: every row counts, and a person is asked


def probe_marker(remediation: str) -> str:
    """Give the word that everything written by our own probe carries."""
    return f"remedy-{remediation}"


def count_written(
    database: Database,
    comment: str,
    rows: dict[str, int],
    probe: ProbeAccount | None,
    remediation: str,
) -> list[Written]:
    """Count what others than our probe wrote to the live database since the cut-over.

    Args:
        database: The database under care.
        comment: Comment of the kept database, with the transaction of the swap.
        rows: Rows at the cut-over by 'schema.table'.
        probe: The probe account; rows that name it are its own.
        remediation: Id of the remediation; rows that name it are the probe's as well.

    Returns:
        The tables that changed.
    """
    xid = str(swap_transaction(comment))
    words = [re.compile(re.escape(probe_marker(remediation)))]
    if probe:  # as a whole value only, not as part of somebody's text
        words.append(re.compile(rf'(?<=[(,"]){re.escape(probe.username)}(?=[),"])'))
    changed = []
    with connect_with(database, database.name, SETTINGS) as session:
        for schema, name in find_tables(session):
            shown = f"{schema}.{name}"
            one = _count(session, schema, name, xid, words, rows.get(shown, 0))
            if one.new or one.gone:
                changed.append(one)
    return changed


def _count(
    session: Connection, schema: str, name: str, xid: str, words: list[re.Pattern[str]], before: int
) -> Written:
    table = sql.Identifier(schema, name)
    newer = sql.SQL("age(xmin) < age({}::xid)").format(xid)
    row = session.execute(
        sql.SQL(
            "SELECT count(*) FILTER (WHERE {newer}) AS new, count(*) AS held FROM ONLY {table}"
        ).format(newer=newer, table=table)
    ).fetchone() or {"new": 0, "held": 0}
    new, gone = int(row["new"]), before - (int(row["held"]) - int(row["new"]))
    if 0 < new <= _MOST_READ:
        texts = session.execute(
            sql.SQL("SELECT t::text AS text FROM ONLY {} t WHERE {}").format(table, newer)
        ).fetchall()
        own = sum(any(word.search(one["text"]) for word in words) for one in texts)
        new, gone = new - own, max(0, gone - own) if gone > 0 else gone
    return Written(f"{schema}.{name}", new, max(0, gone))


def loss_of(written: list[Written], rows_lost: int) -> Loss | None:
    """Say both losses in figures, for a person who has to choose; None where nothing was written.

    Args:
        written: What was written since the cut-over.
        rows_lost: Rows that the old database has and the restored one has not, at most.

    Returns:
        The rows, with a sentence.
    """
    if not written:
        return None
    each = ", ".join(
        f"{one.table} {one.new} new, {one.gone} replaced or deleted" for one in written
    )
    new, gone = sum(one.new for one in written), sum(one.gone for one in written)
    return Loss(
        new + gone,
        "rows",
        f"An undo takes back {new} rows written since the cut-over and brings back {gone} "
        f"replaced or deleted since ({each}); without it the up to {rows_lost} rows stay "
        "lost that were written between the backup and the cut-over. The database that goes is "
        "kept.",
    )
