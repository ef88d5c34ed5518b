"""Rows are carried over in one transaction of live, with a journal in the kept database.

The journal is committed before that transaction is: the rows as they landed, and the former
ones that they took the place of. A comment names the transaction, whose fate the server tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.database.carry.journal import drop_journal, take_journal
from tasks.database.carry.kept_rows import CHANGED_IN_BOTH, Compared, Later, Left
from tasks.database.carry.marks import KIND, note_carrying
from tasks.database.carry.misfits import remove_misfits, take_out
from tasks.database.carry.refusals import is_refusal, told_without_values, without_values
from tasks.database.carry.row_moves import load_rows
from tasks.database.carry.sides import Sessions
from tasks.database.carry.statements import numbers_in_order, take_former, write_rows
from tasks.database.carry.trial import find_refused
from tasks.database.sequences import raise_sequences, read_sequences
from tasks.guardrails import faults
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection


@dataclass(frozen=True)
class Carried:
    """What was carried over.

    Args:
        rows: How many rows landed.
        left: Rows that live refused, with the reason.
        raised: How many sequences were set forward.
    """

    rows: int
    left: tuple[Left, ...]
    raised: int = 0


def carry(sessions: Sessions, compared: Compared, kept_oid: int, remediation: str) -> Carried:
    """Carry rows over; what live refuses is found one by one, and left.

    Args:
        sessions: The sessions.
        compared: What is later in the kept database.
        kept_oid: OID of the kept database.
        remediation: Id of the remediation.

    Returns:
        What landed and what was left.

    Raises:
        PreconditionFailed: Live refuses the rows together, and none of them by itself.
        Transient: A lock was not had in time; nothing was changed.
    """
    with without_values("No row was carried over."):
        return _carry(sessions, compared, kept_oid, remediation)


def _carry(sessions: Sessions, compared: Compared, kept_oid: int, remediation: str) -> Carried:
    tables = _tables(compared)
    refused: dict[tuple[int, str], str] = {}
    # Before: rows that were numbered right before the swap are ahead of live's sequences.
    raised = raise_sequences(sessions.live, read_sequences(sessions.kept))
    try:
        carried = _attempt(sessions, compared, refused, kept_oid, remediation)
    except RemediationError as error:
        if not is_refusal(error):
            raise
        refused = find_refused(sessions, tables, compared.uncertain)
        if not refused:  # it came of what a user wrote in the same moment
            raise told_without_values(error) from None  # the server's detail has the row's values
        try:
            carried = _attempt(sessions, compared, refused, kept_oid, remediation)
        except RemediationError as again:
            raise (told_without_values(again) if is_refusal(again) else again) from None  # the same
    return Carried(carried.rows, carried.left, raised)


def find_misfits(kept: Connection, live: Connection, compared: Compared) -> tuple[Left, ...]:
    """Find the rows that live's constraints refuse, without writing to any of its tables.

    Args:
        kept: A session in the kept database.
        live: A session in live.
        compared: What is later in the kept database.

    Returns:
        The rows with the reason.
    """
    tables = _tables(compared)
    with (
        without_values("Nothing was written to live."),
        live.transaction(force_rollback=True),
    ):
        load_rows(kept, live, tables)
        shapes = {number: one.shape for number, one in tables.items()}
        found = remove_misfits(live, shapes, compared.uncertain)
    return _left(found, tables)


def _attempt(
    sessions: Sessions,
    compared: Compared,
    refused: Mapping[tuple[int, str], str],
    kept_oid: int,
    remediation: str,
) -> Carried:
    tables = _tables(compared)
    live, shapes = sessions.live, {number: one.shape for number, one in tables.items()}
    drop_journal(sessions.kept, remediation)
    with live.transaction():
        live.execute("SET CONSTRAINTS ALL DEFERRED")  # tables may point at each other
        load_rows(sessions.kept, live, tables)
        take_out(live, shapes, refused)
        misfits = {**refused, **remove_misfits(live, shapes, compared.uncertain)}
        for number in numbers_in_order(live, shapes):
            for key in take_former(sessions, number, shapes[number]):
                misfits[number, key] = CHANGED_IN_BOTH
            live.execute(write_rows(number, shapes[number]))
        live.execute("SET CONSTRAINTS ALL IMMEDIATE")
        row = live.execute("SELECT pg_current_xact_id()::text AS xid").fetchone() or {}
        rows = take_journal(sessions, shapes, int(row["xid"]), remediation)
        faults.point(f"{KIND}:written")
        note_carrying(sessions.beside, kept_oid, remediation, rows, int(row["xid"]))
        faults.point(f"{KIND}:noted")
    faults.point(f"{KIND}:committed")
    return Carried(rows, _left(misfits, tables))


def _tables(compared: Compared) -> dict[int, Later]:
    return {number: one for number, one in enumerate(compared.tables) if one.new or one.changed}


def _left(found: Mapping[tuple[int, str], str], tables: Mapping[int, Later]) -> tuple[Left, ...]:
    return tuple(
        Left(tables[number].shape.shown, key, why) for (number, key), why in sorted(found.items())
    )
