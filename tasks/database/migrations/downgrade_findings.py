"""What a downgrade loses, costs and leaves unproved, for those who approve it."""

from tasks.database.backup.backing_up import Source
from tasks.database.migrations.downgrade_plan import Losses, Rehearsed
from tasks.database.migrations.downgrading import BackUpFirst
from tasks.database.migrations.locks import LOCK_TIMEOUT
from tasks.database.migrations.losses import name_dropped
from tasks.database.migrations.measured import Measured
from tasks.database.migrations.plan import forecast
from tasks.guardrails.plan import Change, Effects, Finding
from tasks.guardrails.words import counted


def describe_losses(rehearsed: Rehearsed, losses: Losses) -> tuple[Finding, ...]:
    """Say what goes and how much of it there is, and what else changes."""
    rows = [
        (step.before, name_dropped(one), _many(losses[one]))
        for step, measured in rehearsed
        for one in measured.dropped
    ]
    deleted = [
        (step.before, f"rows of {table}", f"{many:,} on the copy")
        for step, measured in rehearsed
        for table, many in measured.fewer
    ]
    return (
        Finding(
            what=f"What goes: {sum_up(losses)}. In tables that stay "
            f"{'rows are deleted as well' if deleted else 'no row is deleted'}.",
            how="tables and columns of the copy before and after each; rows, and values that are "
            "not NULL, counted in live now",
            columns=("revision taken back", "what goes", "rows or values in it"),
            rows=(*rows, *deleted),
        ),
        Finding(
            what="What each changes of the schema, and what its upgrade does not bring back of it.",
            how="both schemas of the copy compared, object by object",
            columns=("revision taken back", "changes", "the way back"),
            rows=tuple(
                (step.before, measured.changes or "nothing", _back(measured))
                for step, measured in rehearsed
            ),
        ),
    )


def _many(counted_now: int | None) -> str:
    if counted_now is None:  # renamed by a newer one, which goes first
        return "not counted: live has none of that name yet"
    return f"{counted_now:,}"


def _back(measured: Measured) -> str:
    back = measured.back
    assert back is not None  # noqa: S101 - read_rehearsal insists on it
    drops = "".join(f"; drops {name_dropped(one)}" for one in back.dropped)
    return f"{back.sentence}; {back.differs or 'the schema is as before'}{drops}"


def sum_up(losses: Losses) -> str:
    """Say how much goes."""
    rows = sum(many or 0 for one, many in losses.items() if not one[2])
    values = sum(many or 0 for one, many in losses.items() if one[2])
    tables = sum(not one[2] for one in losses)
    columns = len(losses) - tables
    parts = [f"{counted(rows, 'row')} of {counted(tables, 'table')}"] if tables else []
    parts += [f"{counted(values, 'value')} of {counted(columns, 'column')}"] if columns else []
    unknown = ", and what could not be counted" if None in losses.values() else ""
    return (" and ".join(parts) or "no table and no column") + unknown


def as_revisions(rehearsed: Rehearsed) -> Rehearsed:
    """Name what was measured after the revision that is taken back."""
    return tuple(
        (step, measured.model_copy(update={"revision": step.before}))
        for step, measured in rehearsed
    )


def forecast_downgrade(rehearsed: Rehearsed, losses: Losses, source: Source) -> Effects:
    """Say what users notice and what is lost, from what was measured."""
    effects = forecast(as_revisions(rehearsed))
    deletes = any(measured.fewer for _, measured in rehearsed)
    more = ", and rows that are deleted in tables that stay" if deletes else ""
    return effects.model_copy(
        update={
            "locks": f"{effects.locks}; before it ACCESS SHARE on every table for the backup",
            "duration": f"{source.duration} for the backup, then {effects.duration}",
            "lost": f"{sum_up(losses)}{more}; kept in the backup that is taken first",
            "disk_needed": source.disk_needed,
            "disk_free": source.disk_free,
        }
    )


def notes(changes: tuple[Change, ...]) -> tuple[str, ...]:
    """Say what holds for every downgrade."""
    (backup,) = (one.name for one in changes if isinstance(one, BackUpFirst))
    runs_on = (
        "the application runs on: where its present version needs what goes, the proof "
        "afterwards fails and the schema is brought back, without the rows; have a version of it "
        "run first that goes with the older schema, and still ships these revisions"
    )
    kept = (
        f"what goes is kept in {backup} only: restore_from_backup brings it back, with the "
        "whole database as it was then; what is written between it and the downgrade is in neither"
    )
    undo = (
        "the undo upgrades again: it brings back what the rehearsal says of the schema, and "
        "neither the rows nor rights that were granted by hand on what is dropped"
    )
    locks = (
        f"each downgrade is a run of Alembic by itself; lock_timeout {LOCK_TIMEOUT}, proved "
        "before; one that gets no lock is rolled back, and tried again for 5 minutes"
    )
    return runs_on, kept, undo, locks
