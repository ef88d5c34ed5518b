"""What is told of tables that are written anew, or left as they are."""

from tasks.database.vacuum.repack_remains import Remains
from tasks.database.vacuum.rewritable import Rewritable, find_holders
from tasks.database.vacuum.rewrite_cost import Cost
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.protocols import Connection

_OLD_SECONDS = 5
_SHOWN = 20


def insist_on_room(planned: list[tuple[Rewritable, Cost]], needed: int, free: int | None) -> None:
    """Make sure that the disk has room for the largest copy.

    Args:
        planned: The tables that are written anew.
        needed: Bytes for the largest, with its log and what has to stay free.
        free: Bytes free, None where unknown.

    Raises:
        PreconditionFailed: It has not.
    """
    if free is None or free >= needed:
        return
    largest = max((one for one, _ in planned), key=lambda one: one.written)
    raise PreconditionFailed(
        expected=f"{needed / 1e6:,.0f} MB free on the server's disk: for the copy of "
        f"{largest.full_name} beside it, for its log, and a reserve.",
        found=f"{free / 1e6:,.0f} MB.",
        todo="Free some first: drop_kept_databases frees at once; clean_up_backups only what has "
        "lain in its trash long enough, where backups are on the same disk; or name "
        "smaller tables first, whose room comes free.",
    )


def describe_tables(tables: list[Rewritable], costs: list[tuple[Rewritable, Cost]]) -> Finding:
    """Say what the tables that were looked at hold, and what would come free.

    Args:
        tables: All tables.
        costs: Those that are looked at, with what writing them anew costs.
    """
    freed = sum(one.wasted for one, _ in costs)
    looked = [one for one, _ in costs] or sorted(tables, key=lambda one: -one.wasted)
    return Finding(
        what=f"Of {counted(len(tables), 'table')} {len(costs)} are looked at for writing anew; "
        f"about {freed / 1e6:.0f} MB would come free, and what their indexes give back.",
        how="pg_relation_size, pg_stats; pgstattuple_approx where that may be used",
        columns=("table", "MB", "indexes MB", "rows MB", "rows were", "free MB", "lock s", "by"),
        rows=tuple(
            (
                one.full_name,
                f"{(one.heap + one.toast) / 1e6:.1f}",
                f"{one.indexes / 1e6:.1f}",
                f"{(one.content + one.long_content) / 1e6:.1f}",
                one.measured,
                f"{one.wasted / 1e6:.1f}",
                *((str(cost.whole), cost.by) if cost else ("", "")),
            )
            for one, cost in _with_costs(looked[:_SHOWN], costs)
        ),
    )


def _with_costs(
    tables: list[Rewritable], costs: list[tuple[Rewritable, Cost]]
) -> list[tuple[Rewritable, Cost | None]]:
    known = {one.oid: cost for one, cost in costs}
    return [(one, known.get(one.oid)) for one in tables]


def describe_remains(one: Remains) -> Finding:
    """Say what a pg_repack has left, and who may drop it."""
    slower = any(what.startswith("trigger") for what in one.left)
    return Finding(
        what=f"A pg_repack of {one.full_name} did not end, and has left {', '.join(one.left)}"
        f"{': each write to it is written a second time, into a table that grows' * slower}.",
        how="pg_trigger, pg_class and pg_type for schema repack; pg_locks",
        patch=""
        if one.ours
        else f"Not the maintenance user's to drop. As a superuser: {_drops(one)}",
    )


def _drops(one: Remains) -> str:
    if one.name:
        return f"SELECT repack.repack_drop({one.oid}, 4); it locks the table for a moment."
    return "; ".join(f"DROP {what}" for what in one.left)


def describe_refused(table: Rewritable, why: str, patch: str) -> Finding:
    """Say why a table is left as it is, and what would help."""
    return Finding(
        what=f"{table.full_name} is left as it is: {why}.",
        how="pg_class, pg_index, pg_has_role",
        patch=patch,
    )


def describe_holders(table: Rewritable, session: Connection) -> list[Finding]:
    """Name who holds a table in an old transaction."""
    return [
        Finding(
            what=f"{table.full_name} is held by {who}: until that ends, it is not written anew.",
            how="pg_locks, pg_stat_activity",
        )
        for who in find_holders(session, table.oid, _OLD_SECONDS)
    ]
