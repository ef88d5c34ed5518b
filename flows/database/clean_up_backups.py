"""Move backups that are not needed any more into the trash, and never the last sound ones."""

from typing import Annotated

from pydantic import Field

from tasks.database.backup.old_backups import find_old_backups
from tasks.database.backup.retention import Retention
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Out of Disk Space / Clean Up Old Backups")
def clean_up_backups(
    target: TargetName,
    keep_days: Annotated[int, Field(ge=0, le=3650)] = 30,
    keep_weekly: Annotated[int, Field(ge=0, le=520)] = 8,
    keep_monthly: Annotated[int, Field(ge=0, le=120)] = 12,
    keep_sound: Annotated[int, Field(ge=1, le=1000)] = 3,
    trash_days: Annotated[int, Field(ge=1, le=3650)] = 7,
) -> Plan:
    """Move old backups into the trash, and destroy there what has lain long enough.

    The guide's `find -mtime +30 -delete` removes the last good backup when backups stopped a month
    ago. Here the newest sound ones stay however old they are, nothing goes before the newest sound
    one is proved by a restore, only a proved one stands for its week or month, and what goes is
    listed by name. Backups of other databases in the same store stay. The trash is emptied only
    while there are so many sound ones in the store. Those are looked at again before others go, and
    read to their end before a box is destroyed.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        keep_days: Backups that are not older than so many days stay.
        keep_weekly: The newest backup of each of the last so many weeks stays.
        keep_monthly: The newest backup of each of the last so many months stays.
        keep_sound: So many sound backups stay, however old they are.
        trash_days: Days for which what goes stays in the trash.

    Changes:
        Backups with their manifests are moved into a box of the store's trash, which frees nothing
        yet. Boxes whose time is over are destroyed, which does.

    Undo:
        What is in the trash is moved back; a box that was destroyed is gone.
    """
    rule = Retention(keep_days, keep_weekly, keep_monthly, keep_sound)
    found = find_old_backups(target, rule, trash_days, remediation_id())
    return Plan(
        name="clean_up",
        title=f"Move {counted(found.discarded, 'backup')} into the trash, and destroy "
        f"{found.destroyed / 1e6:.1f} MB there",
        risk=Risk.DESTRUCTIVE if found.destroyed else Risk.DISRUPTIVE,
        findings=found.findings,
        changes=found.changes,
        checks=found.checks,
        limits=found.limits,
        effects=Effects(
            lost=f"{found.destroyed / 1e6:.1f} MB of backups whose time in the trash is over"
            if found.destroyed
            else "nothing",
        ),
        notes=found.notes,
    )
