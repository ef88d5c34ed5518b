"""Which tables are worth writing anew, which cannot be, and what it costs."""

import difflib
import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.database.disk import forecast_disk, tell_unmeasured
from tasks.database.vacuum.clear_remains import ClearRepackRemains
from tasks.database.vacuum.horizon import describe_horizon
from tasks.database.vacuum.repack_needs import Repack, inspect_repack
from tasks.database.vacuum.repack_remains import Remains, find_at_work, find_remains
from tasks.database.vacuum.repack_table import RepackTable
from tasks.database.vacuum.rewritable import Rewritable, list_rewritable
from tasks.database.vacuum.rewrite_cost import Cost, measure_cost
from tasks.database.vacuum.rewrite_full import VacuumFull
from tasks.database.vacuum.rewrite_told import (
    describe_holders,
    describe_refused,
    describe_remains,
    describe_tables,
    insist_on_room,
)
from tasks.database.vacuum.tuple_statistics import measure_content
from tasks.guardrails.errors import BadInput
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Database

_LOCK_TIMEOUT = "5s"
_WORTH_MEASURING = 50_000_000
_SHOWN = 20


class Way(enum.StrEnum):
    """How a table is written anew."""

    PG_REPACK = "pg_repack"
    VACUUM_FULL = "vacuum_full"


@dataclass(frozen=True)
class Found:
    """What is written anew, and what was found.

    Args:
        findings: What was found, for the plan.
        changes: What is done.
        costs: The tables that are written anew, with what each costs.
        disk_needed: Bytes for the largest of them, with what has to stay free.
        disk_free: Bytes free, None where unknown.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    costs: tuple[tuple[Rewritable, Cost], ...]
    disk_needed: int
    disk_free: int | None

    @property
    def seconds(self) -> str:
        """How long each table takes, in words."""
        return ", ".join(f"{one.full_name} about {cost.whole} s" for one, cost in self.costs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else an approver should know."""
        apart = [one.full_name for one, _ in self.costs if one.tablespace]
        told = f"{', '.join(apart)}: in a tablespace of its own, whose room was not measured"
        return (
            *((told,) if apart else ()),
            *tell_unmeasured(self.disk_needed if self.costs else 0, self.disk_free),
        )


@dataclass(frozen=True)
class _Seen:
    """What was read of the database at once."""

    tables: list[Rewritable]
    remains: list[Remains]
    at_work: dict[int, int]


@probe
def find_loose_tables(
    target: str, way: Way, names: Sequence[str] | None, most_seconds: int
) -> Found:
    """Find the tables whose files are much larger than their rows, or look at those named.

    Args:
        target: Name of the target.
        way: How they are written anew.
        names: Tables as 'schema.table'; None or none for those that are loose.
        most_seconds: For how long VACUUM FULL may lock one.

    Returns:
        Findings and changes.

    Raises:
        BadInput: A table that is named is not there.
        PreconditionFailed: There is no room for the copy, or pg_repack cannot be used.
    """
    database = targets.load(target).database
    seen = _look(database)
    if names:
        chosen = _named(seen.tables, names)
    else:
        chosen = [one for one in seen.tables if one.is_loose or _is_unknown(one)]
    chosen = measure_content(database, chosen)
    wanted = [one for one in chosen if names or one.is_loose]
    costs = [(one, measure_cost(database, one)) for one in wanted]
    left = [one for one in seen.remains if one.oid not in seen.at_work]
    clears = [
        ClearRepackRemains(oid=one.oid, table=one.full_name, left=one.left)
        for one in left
        if one.ours
    ]
    planned, changes, refused = _plan(database, way, costs, seen.at_work, most_seconds)
    with database.connect() as session:
        needed = max((forecast_disk(session, one.written) for one, _ in planned), default=0)
        holders = [finding for one, _ in planned for finding in describe_holders(one, session)]
        horizon = describe_horizon(session) if planned else []
    free = database.free_bytes()
    insist_on_room(planned, needed, free)
    return Found(
        findings=(
            describe_tables(seen.tables, costs),
            *(describe_remains(one) for one in left),
            *refused,
            *holders,
            *horizon,
        ),
        changes=(*clears, *changes),
        costs=tuple(planned),
        disk_needed=needed,
        disk_free=free,
    )


def _look(database: Database) -> _Seen:
    with database.connect(lock_timeout=_LOCK_TIMEOUT) as session:
        remains = find_remains(session)
        at_work = {one.oid: pid for one in remains for pid, _, _ in find_at_work(session, one.oid)}
        return _Seen(list_rewritable(session), remains, at_work)


def _is_unknown(table: Rewritable) -> bool:
    """Say whether it is large and nothing is known of its rows: then it is measured."""
    return not table.content and table.heap > _WORTH_MEASURING


def _named(tables: list[Rewritable], names: Sequence[str]) -> list[Rewritable]:
    known = {one.full_name for one in tables}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
            shown = near or sorted(known)[:_SHOWN]
            raise BadInput(
                expected="tables with rows of their own, written as 'schema.table' without "
                "quotes; of a partitioned table its partitions.",
                found=f"no table {name!r}.",
                todo=f"There are, among {counted(len(known), 'table')}: {', '.join(shown)}.",
            )
    return [one for one in tables if one.full_name in names]


def _plan(
    database: Database,
    way: Way,
    costs: list[tuple[Rewritable, Cost]],
    at_work: dict[int, int],
    most_seconds: int,
) -> tuple[list[tuple[Rewritable, Cost]], list[Change], list[Finding]]:
    """Make the changes; what cannot be done becomes a finding that says why."""
    repack = _find_repack(database, costs) if way is Way.PG_REPACK and costs else None
    planned: list[tuple[Rewritable, Cost]] = []
    changes: list[Change] = []
    refused = []
    for one, cost in costs:
        why, patch = _why_not(one, cost, repack, most_seconds)
        if one.oid in at_work:
            why = f"a pg_repack is at work on it, in session {at_work[one.oid]}"
            patch = "Wait until that has ended, then run again."
        if why:
            refused.append(describe_refused(one, why, patch))
        else:
            planned.append((one, cost))
            changes.append(_change(one, repack, most_seconds))
    return planned, changes, refused


def _find_repack(database: Database, costs: list[tuple[Rewritable, Cost]]) -> Repack:
    told = ", ".join(f"{one.full_name} for about {cost.whole} s" for one, cost in costs[:_SHOWN])
    return inspect_repack(
        database, f"Or run with way=vacuum_full, which locks everybody out of {told}."
    )


def _why_not(
    table: Rewritable, cost: Cost, repack: Repack | None, most_seconds: int
) -> tuple[str, str]:
    """Say why a table is not written anew, and what would help; '' and '' where it is."""
    run = f"rewrite_tables tables={json.dumps([table.full_name], ensure_ascii=False)}"
    lock = f"which locks everybody out of it for about {cost.whole} s."
    why = patch = ""
    if repack is not None:
        why = repack.refuses(table)
        patch = f"{run} way=vacuum_full, {lock}" if why else ""
    elif not table.may_vacuum:
        why = "the maintenance user is no member of its owner"
        patch = f"As a superuser: VACUUM (FULL, ANALYZE) {table.full_name}, {lock}"
    elif cost.seconds > most_seconds:
        why = (
            f"everybody would be locked out of it for about {cost.whole} s, longer than the "
            f"{most_seconds} s that were allowed ({cost.by})"
        )
        patch = f"{run} way=pg_repack, or most_seconds={2 * cost.whole}."
    return why, patch


def _change(table: Rewritable, repack: Repack | None, most_seconds: int) -> Change:
    if repack is None:
        return VacuumFull(
            schema_name=table.schema_name,
            name=table.name,
            oid=table.oid,
            file=table.file,
            most_seconds=most_seconds,
        )
    return RepackTable(
        schema_name=table.schema_name,
        name=table.name,
        oid=table.oid,
        file=table.file,
        version=repack.version,
        as_owner=repack.as_owner,
    )
