"""What the cut-over's approver sees: the copy as it stands, and the rows of both sides."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.database.catalogue import DatabaseFacts, elsewhere, inspect_database
from tasks.database.copies.baseline import Baseline, compare_databases
from tasks.database.copies.differences import TableDifference
from tasks.database.copies.privileges import find_privilege_differences
from tasks.database.copies.proof import count_rows
from tasks.database.copies.settings import CopyDatabaseSettings, inspect_settings
from tasks.database.copies.side_database import CreateSideDatabase
from tasks.database.marks import name_beside
from tasks.database.restore.blockers import (
    find_attached,
    require_no_blockers,
    require_nothing_attached,
)
from tasks.database.restore.cutover import SwapDatabases
from tasks.database.restore.live_unchanged import (
    find_schema_differences,
    read_besides_rows,
    settings_differ,
)
from tasks.database.rights import inspect_rights, require_rights
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.plan import Finding, Stage
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets


@dataclass(frozen=True)
class Ready:
    """The copy, ready for the cut-over.

    Args:
        live: The live database.
        side: The copy.
        rows: Rows of the copy by 'schema.table'.
        differences: Tables that differ between both.
        baseline: What they are counted from again right before the swap.
        besides: What live has besides its rows.
        kept_until: Until when the old database will be kept.
        findings: What else the approver sees.
        notes: What stays unproved or behind.
    """

    live: DatabaseFacts
    side: DatabaseFacts
    rows: dict[str, int]
    differences: tuple[TableDifference, ...]
    baseline: Baseline
    besides: dict[str, str]
    kept_until: datetime
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@probe
def find_differences(
    target: str, live: str, side: str
) -> tuple[tuple[TableDifference, ...], Baseline]:
    """Compare live and the copy by primary key; see compare_databases."""
    return compare_databases(targets.load(target).database, live, side)


def look_at_copy(target: str, prepared: Stage, *, keep_days: int, leave_attached: bool) -> Ready:
    """Look at live and the copy right before the cut-over is planned.

    Args:
        target: Name of the target.
        prepared: The first stage as it was carried out.
        keep_days: Days for which the old database is kept.
        leave_attached: Whether what is attached may stay behind.

    Returns:
        What the cut-over is planned from.

    Raises:
        PreconditionFailed: Something stands in the way, by name.
        WorldMoved: The live database is another one by now.
    """
    database = targets.load(target).database
    made = next(one for one in prepared.changes if isinstance(one, CreateSideDatabase))
    with database.connect(elsewhere(database)) as session:
        live = inspect_database(session, made.live)
        side = inspect_database(session, made.name)
        if live.oid != made.live_oid:
            raise WorldMoved(
                expected=f"{made.live} to be the database with OID {made.live_oid}.",
                found=f"OID {live.oid}: it was replaced since the copy was made.",
                state=f"The copy {made.name} stands.",
                todo="Find out who replaced it; run the remediation again.",
            )
        require_rights(inspect_rights(session, live))
        require_no_blockers(session, live)
        for copied in (one for one in prepared.changes if isinstance(one, CopyDatabaseSettings)):
            if settings_differ(copied.wanted, inspect_settings(session, live.name)):
                raise WorldMoved(
                    expected=f"{made.live} to have the rights and settings that its copy got.",
                    found="they were changed since (ALTER DATABASE, ALTER ROLE IN DATABASE, "
                    "GRANT or REVOKE ON DATABASE).",
                    state=f"{made.live} was not swapped.",
                    todo="Run the remediation again: a new copy gets them as they are now.",
                )
    besides = read_besides_rows(database, live.name)
    attached = find_attached(database, live)
    if not leave_attached:
        require_nothing_attached(attached)
    with database.connect(side.name) as session:
        rows = count_rows(session)
    differences, baseline = find_differences(target, live.name, side.name)
    notes = [f"stays behind with the old database: {one}" for one in attached]
    return Ready(
        live=live,
        side=side,
        rows=rows,
        differences=differences,
        baseline=baseline,
        besides=besides,
        kept_until=(datetime.now(UTC) + timedelta(days=keep_days)).replace(microsecond=0),
        findings=(
            find_schema_differences(database, live.name, side.name),
            find_privilege_differences(database, live.name, side.name),
        ),
        notes=tuple(notes),
    )


def describe_differences(ready: Ready) -> tuple[Finding, ...]:
    """Say what live has that the copy has not, table by table, with the first rows' keys."""
    lost = sum(one.lost for one in ready.differences)
    back = sum(one.deleted for one in ready.differences)
    unread = sum(bool(one.unread) for one in ready.differences)
    named = tuple((one.table, key) for one in ready.differences for key in one.named)
    found = [
        Finding(
            what=f"A cut-over loses {counted(lost, 'row')} that only {ready.live.name} has or has "
            f"differently, and brings {counted(back, 'row')} back"
            + (f"; {counted(unread, 'table')} of it cannot be read." if unread else "."),
            how="both databases compared by primary key, hashes of the rows",
            columns=("table", "added since", "changed since", "missing, back", "cannot be read"),
            rows=tuple(
                (
                    one.table,
                    f"{one.added:,}",
                    f"{one.changed:,}",
                    f"{one.deleted:,}",
                    one.unread,
                )
                for one in ready.differences
            ),
        )
    ]
    if named:
        found.append(
            Finding(
                what=f"The first of the rows that are lost ({len(named)}), by their keys; all of "
                "them stay in the old database.",
                how="rows whose hashes differ",
                columns=("table", "key"),
                rows=named,
            )
        )
    return tuple(found)


def plan_swap(ready: Ready, remediation: str) -> SwapDatabases:
    """Plan the swap of the two names."""
    name = ready.live.name
    return SwapDatabases(
        live=name,
        live_oid=ready.live.oid,
        side=ready.side.name,
        side_oid=ready.side.oid,
        kept=name_beside(name, f"before_{datetime.now(UTC):%Y%m%d}", remediation),
        undone=name_beside(name, "undone", remediation),
        kept_until=ready.kept_until,
        rows=ready.rows,
        rows_lost=sum(one.lost for one in ready.differences),
        comment=ready.live.comment,
        compared_at=ready.baseline.oldest,
    )
