"""Rebuild the indexes that are damaged, with nobody locked out."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.disk import FreeDisk, tell_unmeasured
from tasks.database.indexes.amcheck import RebuiltIndexesAreSound
from tasks.database.indexes.findings import Which, find_damaged_indexes
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Database Corruption / Rebuild Indexes")
def rebuild_indexes(target: TargetName, which: Which = Which.DAMAGED) -> Plan:
    """Find the indexes that are damaged, and rebuild them while the application works on.

    Every index is verified by amcheck. The guide's REINDEX DATABASE locks the tables one after
    the other, and under this application it never ends; here each index is built anew beside the
    old one (REINDEX INDEX CONCURRENTLY), which gives way where others queue behind it.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        which: "damaged": what amcheck finds damaged, and what is marked invalid; "bloated": also
            what is estimated to be 40 % waste or more; "all": every index.

    Changes:
        Indexes are built anew; invalid ones that an earlier rebuild has left are dropped. Rows
        that a damaged unique index let in twice are shown, not deleted.

    Undo:
        Nothing to take back: an index that was built anew stays.
    """
    found = find_damaged_indexes(target, which)
    many = counted(len(found.rebuilt), "index", "indexes")
    return Plan(
        name="rebuild",
        title=f"Rebuild {many} concurrently",
        risk=Risk.HARMLESS,
        findings=found.findings,
        changes=found.changes,
        checks=(
            RebuiltIndexesAreSound(names=tuple(index.full_name for index in found.rebuilt)),
            ApplicationAnswers(),
        ),
        limits=(FreeDisk(at_least=found.disk_needed, unit="bytes"),) if found.rebuilt else (),
        watches=(ApplicationServes(),),
        effects=Effects(
            locks="SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on, DDL and "
            "VACUUM wait; it is cancelled where somebody waits for a second",
            duration=found.duration,
            disk_needed=found.disk_needed,
            disk_free=found.disk_free,
        ),
        notes=(
            *tell_unmeasured(found.disk_needed if found.rebuilt else 0, found.disk_free),
            *find_unproved(target),
        ),
    )
