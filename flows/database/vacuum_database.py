"""Remove dead rows while the application works on."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.vacuum.findings import measure_dead_rows
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Out of Disk Space / Vacuum Database")
def vacuum_database(target: TargetName, every_table: bool = False) -> Plan:
    """Remove dead rows, freeze old ones and renew statistics while the application works on.

    The guide's VACUUM FULL locks everybody out of one table after the other. A plain VACUUM does
    not: it gives the room of dead rows to new ones, and the end of a file back to the disk. Tables
    whose files are much larger than their rows are listed with what writing them anew would cost.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        every_table: Vacuum all tables; else those with many dead rows or very old ones.

    Changes:
        VACUUM (ANALYZE) of each table in turn, cancelled and tried again where somebody queues
        behind it.

    Undo:
        Nothing to take back: dead rows stay removed.
    """
    found = measure_dead_rows(target, every_table=every_table)
    many = counted(len(found.changes), "table")
    return Plan(
        name="vacuum",
        title=f"Vacuum {many}",
        risk=Risk.HARMLESS,
        findings=found.findings,
        changes=found.changes,
        checks=(ApplicationAnswers(),),
        watches=(ApplicationServes(),),
        effects=Effects(
            locks="SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on, DDL "
            "waits a second at most",
            duration=found.duration,
        ),
        notes=find_unproved(target),
    )
