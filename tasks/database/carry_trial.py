"""Rows tried one by one, to find those that live refuses; all of it is rolled back."""

from collections.abc import Mapping

from psycopg import sql

from tasks.database.carry_sides import Sessions
from tasks.database.carry_statements import numbers_in_order, take_former, write_rows
from tasks.database.kept_rows import Later
from tasks.database.row_moves import load_rows, remove_misfits
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.postgresql import sqlstate
from tasks.platforms.protocols import Connection

# Class of what rows are refused for: values, constraints, checks of views, triggers' own errors.
_REFUSALS = ("22", "23", "44", "P0")


def find_refused(sessions: Sessions, tables: Mapping[int, Later]) -> dict[tuple[int, str], str]:
    """Try the rows one by one, all of it rolled back, and say which live refuses, and why."""
    live, shapes = sessions.live, {number: one.shape for number, one in tables.items()}
    found: dict[tuple[int, str], str] = {}
    with live.transaction(force_rollback=True):
        live.execute("SET CONSTRAINTS ALL IMMEDIATE")
        load_rows(sessions.kept, live, tables)
        misfits = remove_misfits(live, shapes)
        for number in numbers_in_order(live, shapes):
            take_former(sessions, number, shapes[number])
            waiting = [
                key
                for key in (*tables[number].new, *tables[number].changed)
                if (number, key) not in misfits
            ]
            while waiting:  # one may have to wait for another of its table
                why = {key: _try(live, write_rows(number, shapes[number], key)) for key in waiting}
                left = [key for key in waiting if why[key]]
                if left == waiting:
                    found |= {(number, key): why[key] for key in left}
                    break
                waiting = left
    return found


def _try(live: Connection, statement: sql.Composed) -> str:
    try:
        with live.transaction():
            live.execute(statement)
    except RemediationError as error:
        if not is_refusal(error):
            raise
        return f"live refuses it ({reason_of(error)})"
    return ""


def is_refusal(error: RemediationError) -> bool:
    """Say whether live refuses rows for what they are."""
    return sqlstate(error).startswith(_REFUSALS)


def reason_of(error: RemediationError) -> str:
    """Name the constraint, never the values that the server's message has."""
    diagnosis = getattr(error.__cause__, "diag", None)
    name = getattr(diagnosis, "constraint_name", "") or ""
    return name or f"SQLSTATE {sqlstate(error)}"


def told_without_values(error: RemediationError) -> RemediationError:
    """Tell a refusal without the values that the server's message has."""
    kind = Transient if sqlstate(error).startswith("23") else PreconditionFailed
    return kind(
        expected="live to take the rows that are carried over.",
        found=f"it refused them together: {reason_of(error)}.",
        state="No row was carried over.",
        todo="Look at that constraint or trigger in live; the rows are in the kept database.",
    )
