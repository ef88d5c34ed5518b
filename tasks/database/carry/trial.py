"""Rows tried in halves, to find those that live refuses; all of it is rolled back."""

import time
from collections.abc import Mapping, Sequence

from psycopg import sql

from tasks.database.carry.kept_rows import Later, Uncertain
from tasks.database.carry.misfits import remove_misfits
from tasks.database.carry.refusals import is_refusal, reason_of
from tasks.database.carry.row_moves import load_rows
from tasks.database.carry.sides import Sessions
from tasks.database.carry.statements import numbers_in_order, take_former, write_rows
from tasks.database.carry.table_shapes import Shape
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.postgresql_errors import sqlstate

# Users wait that long for rows that are to be changed, at most.
_LONGEST_SECONDS = 20.0
_OUT_OF_TIME = "57014"


def find_refused(
    sessions: Sessions, tables: Mapping[int, Later], uncertain: Sequence[Uncertain]
) -> dict[tuple[int, str], str]:
    """Try the rows, all of it rolled back, and say which live refuses, and why.

    Args:
        sessions: The sessions.
        tables: What is later, by number.
        uncertain: Rows of live to which none of these is to be attached.

    Returns:
        The reason by number of the table and key.

    Raises:
        PreconditionFailed: There are too many of them to be found in time.
    """
    live, shapes = sessions.live, {number: one.shape for number, one in tables.items()}
    with live.transaction(force_rollback=True):
        live.execute("SET CONSTRAINTS ALL IMMEDIATE")
        load_rows(sessions.kept, live, tables)
        misfits = remove_misfits(live, shapes, uncertain)
        live.execute(
            sql.SQL("SET LOCAL statement_timeout = {}").format(f"{_LONGEST_SECONDS * 1000:.0f}ms")
        )
        try:
            return _find(sessions, tables, misfits)
        except RemediationError as error:
            if sqlstate(error) == _OUT_OF_TIME:
                raise _too_many() from None
            raise


def _find(
    sessions: Sessions, tables: Mapping[int, Later], misfits: Mapping[tuple[int, str], str]
) -> dict[tuple[int, str], str]:
    found: dict[tuple[int, str], str] = {}
    trial = _Trial(sessions)
    shapes = {number: one.shape for number, one in tables.items()}
    for number in numbers_in_order(sessions.live, shapes):
        take_former(sessions, number, shapes[number])
        waiting = [
            key
            for key in (*tables[number].new, *tables[number].changed)
            if (number, key) not in misfits
        ]
        while waiting:  # one may have to wait for another of its table
            why = trial.find(number, shapes[number], waiting)
            left = [key for key in waiting if key in why]
            if left == waiting:
                found |= {(number, key): why[key] for key in left}
                break
            waiting = left
    return found


class _Trial:
    """Tries rows until its time is over.

    Args:
        sessions: The sessions; live's is in a transaction that is rolled back.
    """

    def __init__(self, sessions: Sessions) -> None:
        """Begin to count the time."""
        self._live, self._until = sessions.live, time.monotonic() + _LONGEST_SECONDS

    def find(self, number: int, shape: Shape, keys: Sequence[str]) -> dict[str, str]:
        """Write rows, in halves where they are refused together; say which are refused, and why."""
        why = self._try(write_rows(number, shape, keys))
        if not why:
            return {}
        if len(keys) == 1:
            return {keys[0]: why}
        half = len(keys) // 2
        return {
            **self.find(number, shape, keys[:half]),
            **self.find(number, shape, keys[half:]),
        }

    def _try(self, statement: sql.Composed) -> str:
        if time.monotonic() > self._until:
            raise _too_many()
        try:
            with self._live.transaction():
                self._live.execute(statement)
        except RemediationError as error:
            if not is_refusal(error):
                raise
            return f"live refuses it ({reason_of(error)})"
        return ""


def _too_many() -> PreconditionFailed:
    return PreconditionFailed(
        expected=f"to find the rows that live refuses within {_LONGEST_SECONDS:.0f} s.",
        found="too many rows are refused to find out one by one.",
        state="No row was carried over.",
        todo="Look at live's triggers and constraints that are younger than the backup; or carry "
        "them over by hand, by table: they are in the kept database.",
    )
