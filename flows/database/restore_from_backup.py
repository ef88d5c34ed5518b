"""Restore a database from a backup beside the live one, and swap them when that is approved."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.cache.keys import ClearCache, inspect_queues
from tasks.database.copies.differences import TableDifference
from tasks.database.copies.proof import RestoredDatabaseIsLive
from tasks.database.copies.rows_lost import RowsLost
from tasks.database.disk import tell_unmeasured
from tasks.database.restore import inspection as restore
from tasks.database.restore.cutover import SwapDatabases
from tasks.database.restore.cutover_plan import (
    Ready,
    describe_differences,
    look_at_copy,
    plan_swap,
)
from tasks.database.restore.live_unchanged import LiveUnchanged
from tasks.database.restore.plan import (
    describe,
    forecast_copy,
    plan_copy,
    plan_limits,
    plan_proof,
)
from tasks.guardrails.plan import Effects, Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


class Writes(StrEnum):
    """What becomes of writes that the application makes while the copy is restored."""

    ACCEPT = "accept"
    REFUSE = "refuse"


class Attached(StrEnum):
    """What becomes of publications, slots, jobs and servers that a copy does not have."""

    BLOCK = "block"
    LEAVE = "leave"


@remediation(guide="Database Issues / Database Corruption / Restore from Backup")
def restore_from_backup(
    target: TargetName,
    backup: str = "newest",
    writes: Writes = Writes.ACCEPT,
    max_rows_lost: Annotated[int, Field(ge=0, le=10**12)] = 1000,
    keep_days: Annotated[int, Field(ge=0, le=3650)] = 7,
    attached: Attached = Attached.BLOCK,
) -> Plan:
    """Restore a damaged database from a backup, with hardly a pause, and a way back.

    The backup is loaded into a copy beside the live database and proved there; only then an
    approver, who sees the rows that would be lost, decides on the cut-over.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        backup: Name of the backup in the target's store, or "newest" for the newest sound one.
        writes: "accept": the application goes on writing, and what it writes is lost at the
            cut-over up to max_rows_lost; "refuse": the database is read-only until the end.
        max_rows_lost: Rows written since the backup that may be lost; beyond it is asked again.
        keep_days: Days for which the old database is kept for an undo.
        attached: What to do where publications, subscriptions, logical slots, pg_cron jobs or
            foreign servers are attached: "block" refuses, "leave" leaves them behind.

    Changes:
        A database beside the live one with the backup's rows; then, approved apart, the two
        names are swapped in one transaction, and the application's cache is cleared.

    Undo:
        The names are swapped back; what was restored is kept closed under a name of its own.
    """
    request = restore.Request(
        target=target,
        remediation=remediation_id(),
        backup=backup,
        refuse_writes=writes is Writes.REFUSE,
        leave_attached=attached is Attached.LEAVE,
    )
    found = restore.look(request)
    return Plan(
        name="prepare",
        title=f"Restore {found.chosen.name} into a copy beside {found.live.name}, and prove it",
        risk=Risk.DISRUPTIVE if request.refuse_writes else Risk.HARMLESS,
        findings=describe(found),
        changes=plan_copy(request, found),
        checks=plan_proof(request, found),
        limits=plan_limits(found),
        watches=(ApplicationServes(),),
        effects=forecast_copy(found, refuse_writes=request.refuse_writes),
        notes=(
            *found.notes,
            *tell_unmeasured(found.disk_needed, found.disk_free),
            *find_unproved(target),
        ),
        later=(
            StageOutline(
                name="cut_over",
                title=f"Swap {found.live.name} with the restored copy, and keep the old database "
                f"for {counted(keep_days, 'day')}",
                risk=Risk.DISRUPTIVE,
                kinds=(ClearCache.kind, SwapDatabases.kind),
                limits=(f"at most {counted(max_rows_lost, 'row')} lost",),
            ),
        ),
    )


@restore_from_backup.stage("cut_over")
def cut_over(
    earlier: tuple[Stage, ...],
    target: TargetName,
    backup: str,
    writes: Writes,
    max_rows_lost: int,
    keep_days: int,
    attached: Attached,
) -> Stage:
    """Plan the cut-over from the copy as it stands, with the rows of both sides in view."""
    del backup
    ready = look_at_copy(
        target, earlier[0], keep_days=keep_days, leave_attached=attached is Attached.LEAVE
    )
    lost = sum(one.lost for one in ready.differences)
    # More than was outlined takes the approvers of what can't be had back.
    risk = Risk.DISRUPTIVE if lost <= max_rows_lost else Risk.DESTRUCTIVE
    return Stage(
        name="cut_over",
        title=f"Swap {ready.live.name} with {ready.side.name}",
        risk=risk,
        findings=(
            *describe_differences(ready),
            *ready.findings,
            inspect_queues(target),
        ),
        changes=(
            ClearCache(moment="before the swap"),
            plan_swap(ready, remediation_id()),
            ClearCache(moment="after the swap"),
        ),
        checks=(
            RestoredDatabaseIsLive(
                live=ready.live.name, side_oid=ready.side.oid, tables=tuple(ready.rows)
            ),
            ApplicationAnswers(),
        ),
        limits=(
            RowsLost(
                live=ready.live.name,
                side=ready.side.name,
                since=ready.baseline,
                # What the approver sees may grow by as much again until it is carried out.
                at_most=max_rows_lost + (lost if lost > max_rows_lost else 0),
                unit="rows",
                guards=SwapDatabases.kind,
            ),
            LiveUnchanged(
                live=ready.live.name,
                planned=ready.besides,
                at_most=0,
                unit="sorts",
                guards=SwapDatabases.kind,
            ),
        ),
        watches=(ApplicationServes(),),
        effects=Effects(
            outage="at most 0.3 s; open sessions end once",
            locks="the database's name, for the time of the swap",
            duration="seconds",
            lost=_loss(ready.differences, refused=writes is Writes.REFUSE),
            undo_until=ready.kept_until,
        ),
        notes=(*ready.notes, *_offer(ready, target)),
    )


def _offer(ready: Ready, target: str) -> tuple[str, ...]:
    """Offer what carries the lost rows over afterwards."""
    lost = sum(one.lost for one in ready.differences)
    if not lost:
        return ()
    note = f"{counted(lost, 'row')} written after the backup stay in the old database; what fits "
    note += f"of them is carried over by: remedy run carry-over-rows --target {target}"
    return (note,)


def _loss(differences: tuple[TableDifference, ...], *, refused: bool) -> str:
    lost = sum(one.lost for one in differences)
    unread = [one.table for one in differences if one.unread]
    text = f"{counted(lost, 'row')} written since the backup"
    if refused:
        text += " and before the database was made read-only"
    text += ", kept in the old database"
    return text + (f"; unknown for {', '.join(unread)}, which cannot be read" if unread else "")
