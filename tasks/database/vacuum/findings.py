"""Which tables of a database are worth vacuuming, and what a vacuum will not do for them."""

import json
from dataclasses import dataclass

from tasks.database.disk import DISK_RESERVE
from tasks.database.vacuum.ages import describe_old, read_limits
from tasks.database.vacuum.changes import Table, VacuumTable, list_tables
from tasks.database.vacuum.horizon import describe_horizon
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_DEAD_ROWS, _DEAD_SHARE = 1000, 0.05
_BYTES_A_SECOND = 50e6
_SHOWN = 20


@dataclass(frozen=True)
class Found:
    """The tables that are vacuumed, and what was found.

    Args:
        findings: What was found, for the plan.
        changes: A vacuum of each table that is worth it.
        size: Bytes of those tables.
    """

    findings: tuple[Finding, ...]
    changes: tuple[VacuumTable, ...]
    size: int

    @property
    def duration(self) -> str:
        """How long it will take, roughly."""
        return f"about {max(1, self.size / _BYTES_A_SECOND):.0f} s"


@probe
def measure_dead_rows(target: str, *, every_table: bool) -> Found:
    """Measure dead rows, ages and loose files of a database's tables.

    Args:
        target: Name of the target.
        every_table: Whether tables with few dead rows are vacuumed as well.

    Returns:
        Findings and changes.

    Raises:
        PreconditionFailed: The server's disk is too full even for a vacuum.
    """
    database = targets.load(target).database
    free = database.free_bytes()
    if free is not None and free < DISK_RESERVE:
        raise PreconditionFailed(
            expected=f"{DISK_RESERVE / 1e6:.0f} MB free on the server's disk: a vacuum writes to "
            "its log, and a server without room for that ends.",
            found=f"{free / 1e6:.0f} MB.",
            todo="Free some first: drop_kept_databases frees at once; clean_up_backups only what "
            "has lain in its trash long enough, where backups are on the same disk; then run "
            "again.",
        )
    with database.connect() as session:
        tables = list_tables(session)
        horizon = describe_horizon(session)
        limits = read_limits(session)
        elsewhere = describe_old(session, limits)
    old = {one.oid for one in tables if limits.are_passed(one.age, one.multi_age)}
    worth = [one for one in tables if every_table or _has_many_dead(one) or one.oid in old]
    wanted = [one for one in worth if one.ours]
    return Found(
        findings=(
            _overview(tables, wanted),
            *horizon,
            *elsewhere,
            *(_not_ours(one) for one in worth if not one.ours),
            *(_loose(one) for one in tables if one.is_loose),
        ),
        changes=tuple(
            VacuumTable(
                schema_name=one.schema_name,
                name=one.name,
                oid=one.oid,
                before=one.by_hand,
                freeze=one.oid in old,
            )
            for one in wanted
        ),
        size=sum(one.size for one in wanted),
    )


def _has_many_dead(table: Table) -> bool:
    return table.dead >= max(_DEAD_ROWS, _DEAD_SHARE * table.live)


def _overview(tables: list[Table], wanted: list[Table]) -> Finding:
    dead = sum(one.dead for one in tables)
    return Finding(
        what=f"{counted(len(tables), 'table')} with about {dead:,} dead rows; "
        f"{counted(len(wanted), 'is', 'are')} worth vacuuming.",
        how="pg_stat_user_tables",
        columns=("table", "MB", "rows", "dead rows", "age", "multixact age", "vacuumed (UTC)"),
        rows=tuple(
            (
                one.full_name,
                f"{one.size / 1e6:.1f}",
                f"{one.live:,}",
                f"{one.dead:,}",
                f"{one.age:,}",
                f"{one.multi_age:,}",
                one.vacuumed or "never",
            )
            for one in tables[:_SHOWN]
        ),
    )


def _not_ours(table: Table) -> Finding:
    return Finding(
        what=f"{table.full_name} may not be vacuumed by the maintenance user.",
        how="pg_has_role",
        patch=f"As a superuser: VACUUM (ANALYZE) {table.full_name}",
    )


def _loose(table: Table) -> Finding:
    wasted = table.size - table.content
    return Finding(
        what=f"{table.full_name} has {table.size / 1e6:.0f} MB for rows of about "
        f"{table.content / 1e6:.0f} MB. A vacuum gives the room to new rows of this table; only "
        f"writing it anew gives it back to the disk: about {wasted / 1e6:.0f} MB.",
        how="pg_relation_size, pg_stats",
        patch=f"rewrite_tables tables={json.dumps([table.full_name], ensure_ascii=False)}: by "
        "pg_repack, which locks for moments. With way=vacuum_full everybody is locked out of the "
        "table until it is written; its plan says for how long.",
    )
