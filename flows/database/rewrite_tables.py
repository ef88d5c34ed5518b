"""Give the room of tables back to the disk whose files are much larger than their rows."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.disk import FreeDisk
from tasks.database.vacuum.repack_table import RepackTable
from tasks.database.vacuum.rewrite_findings import Found, Way, find_loose_tables
from tasks.database.vacuum.rewrite_full import VacuumFull
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Out of Disk Space / Vacuum Database")
def rewrite_tables(
    target: TargetName,
    way: Way = Way.PG_REPACK,
    tables: list[str] | None = None,
    most_seconds: Annotated[int, Field(ge=1, le=3600)] = 30,
) -> Plan:
    """Write tables anew whose files are much larger than their rows.

    A plain VACUUM gives the room of dead rows to new rows of the same table, and seldom to the
    disk. pg_repack writes a table beside itself and locks it for moments; it needs its extension
    in the database, its program on this host and a key of the table. It is told to end nobody's
    session, and is ended where the disk becomes full. VACUUM FULL needs nothing and locks
    everybody out of the table, readers too, until it is done: its plan says for how long. The
    disk for the copy is measured before, and watched meanwhile; where it cannot be seen from here
    the plan says so, and how much has to be free.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        way: "pg_repack": beside itself, while others work with it; "vacuum_full": under a lock.
        tables: Only these, as 'public.projects', whatever would come free; else those whose files
            are more than twice as large as their rows, and by more than 50 MB.
        most_seconds: For how long "vacuum_full" may lock a table; one that is estimated to take
            longer is left as it is, and one that does take longer is rolled back.

    Changes:
        Each table's rows are in a new file, and its indexes are built anew. What an earlier
        pg_repack has left that did not end is dropped.

    Undo:
        Nothing to take back: rows and their order are the same, as are the table's and its indexes'
        OIDs, constraints, triggers, rules, rights, comments, options, tablespace and replica
        identity. What is another: the files, where rows lie in them (ctid), and the statistics,
        which are gathered anew. Files full of room for nothing are not made again. What was left
        half done is cleared.
    """
    found = find_loose_tables(target, way, tables, most_seconds)
    kind = RepackTable.kind if way is Way.PG_REPACK else VacuumFull.kind
    many = counted(len(found.costs), "table")
    return Plan(
        name="rewrite",
        title=f"Write {many} anew by {way.value}",
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=found.changes,
        checks=(ApplicationAnswers(),),
        limits=(FreeDisk(at_least=found.disk_needed, unit="bytes", guards=kind),)
        if found.costs
        else (),
        watches=(ApplicationServes(),),
        effects=_effects(found, way, most_seconds),
        notes=(*found.notes, *find_unproved(target)),
    )


def _effects(found: Found, way: Way, most_seconds: int) -> Effects:
    if not found.costs:
        return Effects(locks="a left-over trigger is dropped under a lock of a moment")
    if way is Way.PG_REPACK:
        return Effects(
            outage="none expected; who needs a table waits for moments at the beginning and the "
            "end of its copy, for two seconds at a time where others hold it",
            locks="ACCESS EXCLUSIVE on each table in turn, for moments; it gives up after about "
            "5 s where others hold the table, and ends nobody's session",
            duration=found.seconds,
            disk_needed=found.disk_needed,
            disk_free=found.disk_free,
        )
    return Effects(
        outage=f"who needs one of these waits until it is written: {found.seconds}; "
        f"{most_seconds} s each at the most, then it is rolled back",
        locks="ACCESS EXCLUSIVE on each table in turn: nobody reads or writes it meanwhile. It is "
        "asked for with a patience of 0.3 s",
        duration=found.seconds,
        disk_needed=found.disk_needed,
        disk_free=found.disk_free,
    )
