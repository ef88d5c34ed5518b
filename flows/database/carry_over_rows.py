"""Carry rows that were written after a backup over into the database restored from it."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.cache.keys import ClearCache
from tasks.database.carry.carry_over import CarryRowsOver
from tasks.database.carry.checks import CarriedRowsAreThere, RowsCarriedOver
from tasks.database.carry.findings import (
    Found,
    describe_kept,
    find_door,
    find_later_rows,
    read_sides,
)
from tasks.database.copies.opening import CloseKeptDatabase, OpenKeptDatabase
from tasks.database.restore.restored import find_restored, reread_restored
from tasks.guardrails.plan import Change, Effects, Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation as make_remediation
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@make_remediation(guide="Database Issues / Database Corruption / Restore from Backup")
def carry_over_rows(
    target: TargetName,
    remediation: str = "",
    max_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000,
) -> Plan:
    """Carry rows that were written after the backup over into the database restored from it.

    A restore keeps the database that it replaces. Rows that only that one has, or has in a later
    version, are found by primary key and updated_at, table by table; what satisfies the
    constraints of the live database is carried over. What does not, and what would overwrite
    something newer, is listed by table and key for a person to decide. Values are never shown.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        remediation: Id of the restore, as `remedy runs` shows it; empty for the one whose
            database is live.
        max_rows: The most rows that may be carried over; where there are more, nothing is done.

    Changes:
        The kept database is opened for remediations only, and closed again at the end. Approved
        apart: rows are inserted and changed in the live database in one transaction, in the order
        of their foreign keys; the application's cache is cleared. A journal of the rows, as they
        landed and as they were before, stays in the kept database.

    Undo:
        Rows that were inserted are deleted again, and rows that were changed get their former
        content back. One that somebody has changed since, or at which something points that was
        written since, is left as it is, and named. Triggers fire once more for that, and what they
        wrote stays; the plan names them.
    """
    restored = find_restored(target, remediation)
    return Plan(
        name="open",
        title=f"Open {restored.kept.name} for remediations only, and compare it with "
        f"{restored.swap.live}",
        risk=Risk.HARMLESS,
        findings=(describe_kept(restored),),
        changes=(find_door(target, restored),),
        effects=Effects(undo_until=restored.swap.kept_until),
        notes=(
            *find_unproved(target),
            f"while {restored.kept.name} is open superusers may connect to it, too",
        ),
        later=(
            StageOutline(
                name="carry_over",
                title=f"Carry over what fits into {restored.swap.live}, and close "
                f"{restored.kept.name}",
                risk=Risk.DISRUPTIVE,
                kinds=(ClearCache.kind, CarryRowsOver.kind, CloseKeptDatabase.kind),
                limits=(f"at most {counted(max_rows, 'row')} carried over",),
            ),
        ),
    )


@carry_over_rows.stage("carry_over")
def carry_over(
    earlier: tuple[Stage, ...], target: TargetName, remediation: str, max_rows: int
) -> Stage:
    """Plan what is carried over from both databases as they stand."""
    del remediation
    door = next(one for one in earlier[0].changes if isinstance(one, OpenKeptDatabase))
    restored = reread_restored(target, door.kept_by)
    found = find_later_rows(target, read_sides(target, restored), max_rows)
    return Stage(
        name="carry_over",
        title=_title(found),
        risk=Risk.DISRUPTIVE if found.change else Risk.HARMLESS,
        findings=found.findings,
        changes=(*_carrying(found), CloseKeptDatabase(**door.model_dump())),
        checks=(
            CarriedRowsAreThere(sides=found.sides, tables=found.tables),
            ApplicationAnswers(),
        )
        if found.change
        else (),
        limits=(RowsCarriedOver(sides=found.sides, at_most=max_rows, unit="rows"),)
        if found.change
        else (),
        watches=(ApplicationServes(),),
        effects=Effects(
            locks="ROW EXCLUSIVE on the tables; of rows only those that are changed, for the time "
            "of one transaction",
            undo_until=restored.swap.kept_until,
        ),
        notes=(
            *_tell_triggers(found),
            "undo until the kept database is dropped: its journal goes with it",
        )
        if found.change
        else (),
    )


def _carrying(found: Found) -> tuple[Change, ...]:
    if found.change is None:
        return ()
    return (
        ClearCache(moment="before rows are carried over"),
        found.change,
        ClearCache(moment="after rows were carried over"),
    )


def _tell_triggers(found: Found) -> tuple[str, ...]:
    if not found.triggers:
        return ()
    told = "triggers of live fire for what is carried over, and again for what an undo takes back; "
    return (f"{told}what they write is not taken back: {', '.join(found.triggers)}",)


def _title(found: Found) -> str:
    left = f"; {counted(found.left, 'row')} left for a person to decide" if found.left else ""
    if found.change is None:
        return f"Nothing to carry over{left}; close {found.sides.kept} again"
    rows = sum(map(sum, found.change.tables.values()))
    return f"Carry {counted(rows, 'row')} over into {found.sides.live}{left}"
