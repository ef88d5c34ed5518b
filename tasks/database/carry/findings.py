"""What an approver sees before rows are carried over, and the plan that follows from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.database.carry.carry_over import CarryRowsOver
from tasks.database.carry.carrying import find_misfits
from tasks.database.carry.kept_rows import Compared, Left
from tasks.database.carry.later_rows import compare_kept
from tasks.database.carry.marks import read_taken_back
from tasks.database.carry.sides import Sides
from tasks.database.catalogue import elsewhere, inspect_database
from tasks.database.copies.opening import OpenKeptDatabase, read_connect_grants
from tasks.database.copies.written import swap_transaction
from tasks.database.restore.restored import Restored
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_LISTED = 200
# Those of foreign keys and of deferred unique constraints are the server's own.
_TRIGGERS = """
    SELECT n.nspname || '.' || c.relname || '.' || t.tgname AS name
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname || '.' || c.relname = ANY (%s) AND t.tgenabled IN ('O', 'A')
      AND NOT EXISTS (SELECT FROM pg_constraint s
                      WHERE s.oid = t.tgconstraint AND s.contype <> 't')
    ORDER BY 1"""


@dataclass(frozen=True)
class Found:
    """What is carried over, and what is not.

    Args:
        findings: What was found, for the plan.
        change: What carries rows over; None where nothing is to be.
        sides: Both databases.
        tables: Schema and name of the tables that get rows.
        left: How many rows are listed for a person.
        triggers: Triggers of those tables in live, as 'schema.table.trigger'.
    """

    findings: tuple[Finding, ...]
    change: CarryRowsOver | None
    sides: Sides
    tables: tuple[tuple[str, str], ...]
    left: int
    triggers: tuple[str, ...]


@probe
def find_door(target: str, restored: Restored) -> OpenKeptDatabase:
    """Find who may connect to a kept database, and plan to open it for us only.

    Args:
        target: Name of the target.
        restored: The restore that keeps it.

    Returns:
        The change.
    """
    database = targets.load(target).database
    with database.connect(elsewhere(database)) as session:
        grants = read_connect_grants(session, restored.kept.oid)
    return OpenKeptDatabase(
        kept=restored.kept.name,
        kept_oid=restored.kept.oid,
        kept_by=restored.remediation,
        grants=grants,
    )


def describe_kept(restored: Restored) -> Finding:
    """Say which database is kept by which restore, and until when."""
    swap, kept = restored.swap, restored.kept
    taken = f", of {restored.taken:%Y-%m-%d %H:%M:%S} UTC" if restored.taken else ""
    over = "; its time is over, and drop_kept_databases may drop it" if kept.is_over else ""
    return Finding(
        what=f"{swap.live} was restored by {restored.remediation} from a backup{taken}. "
        f"{kept.name} is what it was before ({kept.size / 1e6:.0f} MB), kept until "
        f"{swap.kept_until:%Y-%m-%d %H:%M} UTC{over}. The restore's approver was told of "
        f"{counted(swap.rows_lost, 'row')} that only it has or has differently.",
        how="the restore in the ledger; the comment of the kept database",
    )


def read_sides(target: str, restored: Restored) -> Sides:
    """Gather what carrying over needs of both databases.

    Args:
        target: Name of the target.
        restored: The restore.

    Returns:
        Both, with the transaction of the swap.
    """
    system, swap = targets.load(target), restored.swap
    database = system.database
    with database.connect(elsewhere(database)) as session:
        live = inspect_database(session, database.name)
    return Sides(
        live=live.name,
        live_oid=live.oid,
        owner=live.shape.owner,
        kept=swap.kept,
        kept_oid=swap.live_oid,
        swapped=swap_transaction(restored.kept.comment),
        back=read_taken_back(restored.kept.comment),
        rows=swap.rows,
        taken=restored.taken,
        revision_table=system.migrations.version_table if system.migrations else "",
    )


@probe
def find_later_rows(target: str, sides: Sides, most: int) -> Found:
    """Find the rows that are later than the backup, and which of them live would take.

    Args:
        target: Name of the target.
        sides: Both databases; the kept one is open for us.
        most: The most rows that may be carried over.

    Returns:
        Findings and the change.

    Raises:
        PreconditionFailed: There are more rows than that.
    """
    database = targets.load(target).database
    compared = compare_kept(database, sides.source)
    if compared.rows > most:
        raise PreconditionFailed(
            expected=f"at most {counted(most, 'row')} to carry over (max_rows).",
            found=f"{counted(compared.rows, 'row')} that are later than the backup.",
            state="No row was carried over; the kept database is closed again.",
            todo="Look whether they are all wanted: the restore may have been of an old backup. "
            f"Then run again with max_rows={compared.rows} or more.",
        )
    with sides.opened(database) as sessions:
        misfits = find_misfits(sessions.kept, sessions.live, compared)
        tables = dict(_carried(compared, misfits))
        triggers = sessions.live.execute(_TRIGGERS, (list(tables),)).fetchall()
    left = [*(one for table in compared.tables for one in table.left), *misfits]
    change = CarryRowsOver(sides=sides, tables=tables) if tables else None
    return Found(
        findings=tuple(_describe(compared, tables, left, sides)),
        change=change,
        sides=sides,
        tables=tuple(
            (one.shape.schema, one.shape.name)
            for one in compared.tables
            if one.shape.shown in tables
        ),
        left=len(left),
        triggers=tuple(row["name"] for row in triggers),
    )


def _carried(
    compared: Compared, misfits: tuple[Left, ...]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Count what is carried over of each table: rows that are new and rows that are changed."""
    refused = {(one.table, one.key) for one in misfits}
    for one in compared.tables:
        shown = one.shape.shown
        new = sum((shown, key) not in refused for key in one.new)
        changed = sum((shown, key) not in refused for key in one.changed)
        if new or changed:
            yield shown, (new, changed)


def _describe(
    compared: Compared, tables: Mapping[str, tuple[int, int]], left: list[Left], sides: Sides
) -> Iterator[Finding]:
    new = sum(one for one, _ in tables.values())
    changed = sum(one for _, one in tables.values())
    rows = tuple(
        (
            one.shape.shown,
            f"{tables.get(one.shape.shown, (0, 0))[0]:,}",
            f"{tables.get(one.shape.shown, (0, 0))[1]:,}",
            f"{sum(row.table == one.shape.shown for row in left):,}",
            f"{one.gone:,}",
        )
        for one in compared.tables
    )
    yield Finding(
        what=f"{sides.kept} has {counted(new, 'row')} that {sides.live} lacks and "
        f"{counted(changed, 'row')} later than {sides.live}'s, to be carried over; "
        f"{counted(len(left), 'row')} for a person to decide. Rows that it lacks were deleted "
        "after the backup or by what the restore was for: they stay.",
        how="both databases compared by primary key and content; updated_at; what is older than "
        "the restore in live, by its transactions; foreign keys and unique indexes of live",
        columns=("table", "new", "changed", "for a person", "only in live") if rows else (),
        rows=rows,
    )
    if left:
        more = f"; the first {_LISTED} of them" if len(left) > _LISTED else ""
        yield Finding(
            what=f"{counted(len(left), 'row')} not carried over, for a person to decide{more}. "
            f"They stay in {sides.kept}.",
            how="the same comparison",
            columns=("table", "primary key", "why not"),
            rows=tuple((one.table, one.key, one.why) for one in left[:_LISTED]),
        )
    if compared.unread:
        yield Finding(
            what=f"{counted(len(compared.unread), 'table')} could not be compared.",
            how="the catalogues of both databases",
            columns=("table", "why"),
            rows=tuple(sorted(compared.unread.items())),
        )
