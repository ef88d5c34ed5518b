"""Drop the databases that restores have kept, once their time is over."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.copies.kept import DropKeptDatabase, KeptDatabase, find_kept_databases
from tasks.guardrails.plan import Effects, Finding, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Database Corruption / Restore from Backup")
def drop_kept_databases(target: TargetName) -> Plan:
    """Drop the databases that restores and their undos have kept, once their time is over.

    Each was closed and marked with the time until which it can be swapped back; one without
    such a mark is left alone. One whose time is not over is listed and stays, and so is one that
    the ledger does not know as kept by a remediation of this target.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        Databases whose time is over are dropped, each listed by name.

    Undo:
        None: what is dropped is gone. The restore that kept it cannot be undone any more.
    """
    kept = find_kept_databases(target)
    over = [one for one in kept if one.is_over and one.target == target]
    total = sum(one.size for one in over)
    return Plan(
        name="drop",
        title=f"Drop {counted(len(over), 'database')} whose time is over",
        risk=Risk.DESTRUCTIVE,
        findings=(
            Finding(
                what=f"{counted(len(kept), 'database is', 'databases are')} kept; "
                f"{counted(len(over), 'goes', 'go')} ({total / 1e6:.0f} MB).",
                how="pg_database, the comments of those that are closed, and the ledger",
                columns=("database", "MB", "time is over", "what it is", "goes") if kept else (),
                rows=tuple(
                    (
                        one.name,
                        f"{one.size / 1e6:.0f}",
                        "yes" if one.is_over else "no",
                        one.comment.partition(": ")[2],
                        _say_whether_it_goes(one, target),
                    )
                    for one in kept
                ),
            ),
        ),
        changes=tuple(
            DropKeptDatabase(
                name=one.name,
                oid=one.oid,
                kept_by=one.remediation,
                until=one.until,
                size=one.size,
            )
            for one in over
            if one.until is not None
        ),
        checks=(ApplicationAnswers(),),
        watches=(ApplicationServes(),),
        effects=Effects(
            locks="none on the live database",
            lost=f"{counted(len(over), 'database')} of {total / 1e6:.0f} MB, out of use",
        ),
        notes=find_unproved(target),
    )


def _say_whether_it_goes(kept: KeptDatabase, target: str) -> str:
    if not kept.target:
        return f"no: the ledger has no remediation {kept.remediation}"
    if kept.target != target:
        return f"no: kept for target {kept.target}"
    return "yes" if kept.is_over else "no"
