"""Add the indexes that are missing, and keep those that help."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.disk import FreeDisk, tell_unmeasured
from tasks.database.indexes.missing_indexes import find_missing_indexes
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(guide="Performance Issues / Slow Database Queries / Add Missing Indexes")
def add_indexes(
    target: TargetName,
    at_most: Annotated[int, Field(ge=1, le=20)] = 3,
    tables: list[str] | None = None,
) -> Plan:
    """Add indexes that queries or foreign keys lack, and keep those that help.

    The guide's idx_scan = 0 finds what is not used, not what is missing, and its CREATE INDEX
    holds every write to the table up. Here each candidate comes with the query that would use it:
    foreign keys that no index begins with, and the queries that took the most time whose plan
    reads a large table for a few of its rows. An index that one of the same first columns serves
    already is not made twice. Each is built concurrently, gives way where others queue behind
    it, and is dropped again where the planner does not gain by it: against what the query cost
    right before the build, which the record shows beside what it cost when this was planned. For
    slow queries none is made on columns whose type allows values of more than about 2,700 bytes,
    as text does: a later write of one would fail; these are listed with the reason. Indexes that
    nobody uses are listed and left alone.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        at_most: So many indexes are made in a run, those that may save most.
        tables: Only these tables are looked at, as 'projects' or 'public.projects'; else all.

    Changes:
        CREATE INDEX CONCURRENTLY for each candidate, named and commented with the remediation's
        id; one that does not help is dropped again.

    Undo:
        The indexes are dropped concurrently. Nothing else differs.
    """
    found = find_missing_indexes(target, at_most, tables, remediation_id())
    many = counted(found.made, "index", "indexes")
    return Plan(
        name="add",
        title=f"Add {many} concurrently, and keep what helps",
        risk=Risk.HARMLESS,
        findings=found.findings,
        changes=found.changes,
        checks=(ApplicationAnswers(),),
        limits=(FreeDisk(at_least=found.disk_needed, unit="bytes"),) if found.made else (),
        watches=(ApplicationServes(),),
        effects=Effects(
            locks="SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on, DDL and "
            "VACUUM wait; it is cancelled where somebody waits",
            duration=found.duration,
            disk_needed=found.disk_needed if found.made else 0,
            disk_free=found.disk_free,
        ),
        notes=(
            *tell_unmeasured(found.disk_needed if found.made else 0, found.disk_free),
            *find_unproved(target),
        ),
    )
