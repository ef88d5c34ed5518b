"""The changes of a downgrade: its rehearsal on a copy, then a backup and each one in live."""

from datetime import UTC, datetime

from tasks.database.backup.backing_up import Source
from tasks.database.marks import name_beside
from tasks.database.migrations.downgrading import BackUpFirst, DowngradeRevision
from tasks.database.migrations.losses import Dropped, ValuesDropped, count_held
from tasks.database.migrations.measured import Measured, from_text
from tasks.database.migrations.pending import Pending
from tasks.database.migrations.plan import bounds
from tasks.database.migrations.rehearsing import DropRehearsal
from tasks.database.migrations.rehearsing_back import RehearseDowngrade
from tasks.database.migrations.way_back import Step
from tasks.database.restore.inspection import Found
from tasks.database.restore.plan import plan_loading
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Change, Loss, Stage
from tasks.guardrails.probe import probe
from tasks.guardrails.remediation import seen_so_far
from tasks.platforms import targets

# Rehearsed downgrades, newest revision first, each with what it took and what it drops.
Rehearsed = tuple[tuple[RehearseDowngrade, Measured], ...]
Losses = dict[Dropped, int | None]


def rehearse_on_copy(remediation: str, steps: tuple[Step, ...], found: Found) -> tuple[Change, ...]:
    """Plan the copy, each downgrade on it, and the end of it.

    Args:
        remediation: Id of the remediation.
        steps: The revisions, newest first.
        found: The backup.

    Returns:
        The changes in order.
    """
    live = found.live
    side = name_beside(live.name, "rehearsal", remediation)
    rehearsed = tuple(
        RehearseDowngrade(
            side=side,
            live=live.name,
            owner=live.shape.owner,
            before=step.name,
            after=step.older,
            script=step.down.digest,
            back_script=step.up.digest,
        )
        for step in steps
    )
    drop = DropRehearsal(side=side, needs=(RehearseDowngrade.kind,))
    return (*plan_loading(side, found), *rehearsed, drop)


def read_rehearsal(rehearsed: Stage, pending: Pending, steps: tuple[Step, ...]) -> Rehearsed:
    """Read from the ledger what the rehearsal saw, and make sure that it still goes for live.

    Args:
        rehearsed: The first stage as it was carried out.
        pending: Where live stands now.
        steps: The way back as it is now.

    Returns:
        The downgrades with what each took.

    Raises:
        WorldMoved: Somebody has migrated since, or the application is another version.
        PreconditionFailed: What one drops was not seen.
    """
    seen = {one.revision: one for t in seen_so_far(RehearseDowngrade.kind) for one in from_text(t)}
    every = [one for one in rehearsed.changes if isinstance(one, RehearseDowngrade)]
    was = [(one.before, one.after, one.script, one.back_script) for one in every]
    now = [(step.name, step.older, step.down.digest, step.up.digest) for step in steps]
    if was != now:
        raise WorldMoved(
            expected=f"to take back {', '.join(one.before for one in every)}, as rehearsed.",
            found=f"{pending.live} is at {pending.at or 'another revision'}, and the downgrades "
            f"are now: {', '.join(step.name for step in steps) or 'none'}.",
            state="Nothing was taken back.",
            todo="Find out who migrated, or deployed another version, then run again.",
        )
    unseen = [one.before for one in every if one.after not in seen or not seen[one.after].back]
    if unseen:
        raise PreconditionFailed(
            expected="to know what each downgrade drops.",
            found=f"the rehearsal of {', '.join(unseen)} was interrupted at its end.",
            todo="Run again.",
        )
    return tuple((one, seen[one.after]) for one in every)


@probe
def measure_losses(target: str, rehearsed: Rehearsed) -> Losses:
    """Count what live holds now in all that the downgrades drop.

    Args:
        target: Name of the target.
        rehearsed: The downgrades.

    Returns:
        Rows of each table, values of each column; None where live has none of that name.
    """
    database = targets.load(target).database
    dropped = [one for _, measured in rehearsed for one in measured.dropped]
    return count_held(database, database.name, dropped)


def plan_downgrade(
    rehearsed: Rehearsed, steps: tuple[Step, ...], source: Source, remediation: str
) -> tuple[Change, ...]:
    """Plan the backup, then the downgrades one after the other, with what their rehearsal gives."""
    backup = BackUpFirst(
        live=source.name,
        live_oid=source.oid,
        name=f"pre-downgrade-{datetime.now(UTC):%Y%m%d-%H%M%S}-{remediation}.dump",
        compression=source.compression,
    )
    changes: list[Change] = [backup]
    for (one, measured), step in zip(rehearsed, steps, strict=True):
        back = measured.back or Measured(revision=one.before)
        both = (bounds(measured, 0.0), bounds(back, 0.0))
        changes.append(
            DowngradeRevision(
                needs=(DowngradeRevision.kind,) if len(changes) > 1 else (),
                live=one.live,
                before=one.before,
                after=one.after,
                script=one.script,
                cut_after=max(cut for cut, _ in both),
                statement_seconds=max(seconds for _, seconds in both),
                back_in_transaction=step.up.in_transaction,
                back_script=one.back_script,
                back_drops=back.dropped,
            )
        )
    return tuple(changes)


def plan_limit(live: str, losses: Losses) -> ValuesDropped:
    """Plan the limit: what users add while an approver thinks may go as well, not much more."""
    total = float(sum(many or 0 for many in losses.values()))
    return ValuesDropped(
        live=live,
        dropped=tuple(one for one, many in losses.items() if many is not None),
        at_most=Loss(total, "rows and values", "").at_most,
        unit="rows and values",
        guards=DowngradeRevision.kind,
    )
