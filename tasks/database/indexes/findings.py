"""What is wrong with the indexes of a database, and which of it a rebuild mends."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.database.disk import DISK_RESERVE
from tasks.database.indexes.amcheck import State, Verified, verify_indexes
from tasks.database.indexes.catalogue import (
    Index,
    find_changed_collations,
    find_duplicates,
    list_indexes,
)
from tasks.database.indexes.changes import DropLeftOverIndex, RebuildIndex
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_BLOATED, _BLOATED_BYTES = 0.4, 1_000_000
_BYTES_A_SECOND = 20e6
_SHOWN = 50


class Which(enum.StrEnum):
    """Which indexes are rebuilt."""

    DAMAGED = "damaged"
    BLOATED = "bloated"
    ALL = "all"


@dataclass(frozen=True)
class Found:
    """The indexes of a database, and what is to be done about them.

    Args:
        findings: What was found, for the plan.
        changes: What mends it.
        rebuilt: The indexes that are rebuilt.
        disk_needed: Bytes for the largest one, beside the old one, and its sort.
        disk_free: Bytes free, None where unknown.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    rebuilt: tuple[Index, ...]
    disk_needed: int
    disk_free: int | None

    @property
    def duration(self) -> str:
        """How long it will take, roughly."""
        size = sum(index.size for index in self.rebuilt)
        return f"about {max(1, size / _BYTES_A_SECOND):.0f} s"


@probe
def find_damaged_indexes(target: str, which: Which) -> Found:
    """Verify every index, and say what a rebuild mends and what it does not.

    Args:
        target: Name of the target.
        which: Which indexes are rebuilt beside the damaged ones.

    Returns:
        Findings and changes.
    """
    database = targets.load(target).database
    with database.connect() as session:
        indexes = list_indexes(session)
        collations = find_changed_collations(session)
    left = [index for index in indexes if index.is_left_over]
    verified = verify_indexes(
        database, [index for index in indexes if index not in left], lambda _done, _detail: None
    )
    wanted = {one.index.full_name: why for one in verified if (why := _why(one, which))}
    kept, rebuilt, doubled, foreign = [], [], [], []
    for one in verified:
        if one.index.full_name not in wanted:
            continue
        why = wanted[one.index.full_name]
        if one.index.is_catalogue or one.index.exclusion:
            kept.append((one.index, why))
        elif not one.index.ours:
            foreign.append((one.index, why))
        elif (
            one.state is State.DAMAGED
            and one.index.unique
            and (rows := find_duplicates(database, one.index))
        ):
            doubled.append((one.index, rows))
        else:
            rebuilt.append(one.index)
    return Found(
        findings=(
            describe_indexes(verified, left),
            *describe_collations(collations),
            *_damaged_tables(verified),
            *(_double(index, rows) for index, rows in doubled),
            *(_not_concurrently(index, why) for index, why in kept),
            *(_left_as_they_are(verified) if which is Which.ALL else ()),
            *(_not_ours(index, why) for index, why in foreign),
        ),
        changes=(
            *(
                DropLeftOverIndex(
                    schema_name=index.schema_name, name=index.name, table=index.table, oid=index.oid
                )
                for index in left
            ),
            *(RebuildIndex.of(index, wanted[index.full_name]) for index in rebuilt),
        ),
        rebuilt=tuple(rebuilt),
        disk_needed=2 * max((index.size for index in rebuilt), default=0) + DISK_RESERVE,
        disk_free=database.free_bytes(),
    )


def _why(one: Verified, which: Which) -> str:
    """Say why an index is rebuilt, '' where it is not."""
    if one.state is State.DAMAGED:
        return one.detail
    if one.state is State.TABLE_DAMAGED or one.index.is_catalogue or one.index.exclusion:
        return ""
    if which is Which.ALL:
        return "all indexes are rebuilt, as asked for"
    is_bloated = one.index.wasted > _BLOATED and one.index.size > _BLOATED_BYTES
    if which is Which.BLOATED and is_bloated:
        return f"about {one.index.wasted:.0%} of {one.index.size / 1e6:.1f} MB is waste"
    return ""


def describe_indexes(
    verified: Sequence[Verified], left: Sequence[Index] = (), patch: str = ""
) -> Finding:
    """Say how many indexes are sound, list the others, and what lets more be said of them.

    Args:
        verified: What amcheck says of each.
        left: Invalid ones that a rebuild has left.
        patch: What to run for what is damaged.
    """
    todos = dict.fromkeys(one.todo for one in verified if one.todo)
    unknown = sum(one.state is State.UNKNOWN for one in verified)
    sound = sum(one.state is State.SOUND for one in verified)
    others = [one for one in verified if one.state is not State.SOUND]
    total = counted(len(verified), "index", "indexes")
    more = f"; {counted(len(left), 'invalid one was', 'invalid ones were')} left by a rebuild"
    return Finding(
        what=f"Of {total} {sound} {'is' if sound == 1 else 'are'} sound"
        f"{f', {unknown} could not be verified' if unknown else ''}{more if left else ''}.",
        how="amcheck: bt_index_check with heapallindexed; pg_index",
        columns=("index", "table", "state", "what was seen") if others or left else (),
        rows=(
            *(
                (one.index.full_name, one.index.table, one.state.value, one.detail)
                for one in others[:_SHOWN]
            ),
            *((one.full_name, one.table, "left over", "invalid") for one in left[:_SHOWN]),
        ),
        patch="\n".join(([patch] if patch else []) + list(todos)),
    )


def describe_collations(sentences: list[str]) -> tuple[Finding, ...]:
    """Say which collations have changed since indexes were built, if any have.

    Args:
        sentences: One for each that has.
    """
    if not sentences:
        return ()
    return (
        Finding(
            what="; ".join(sentences) + ". Text in an older order makes an index "
            "miss rows; amcheck finds those that do.",
            how="pg_collation_actual_version",
            patch="When every index on it was verified or rebuilt: "
            "ALTER COLLATION ... REFRESH VERSION or ALTER DATABASE ... REFRESH COLLATION VERSION.",
        ),
    )


def _damaged_tables(verified: list[Verified]) -> list[Finding]:
    damaged = {one.index.table: one.detail for one in verified if one.state is State.TABLE_DAMAGED}
    return [
        Finding(
            what=f"Table {table} itself is damaged: {detail}. No rebuild of an index mends it.",
            how="amcheck",
            patch="Run restore_from_backup.",
        )
        for table, detail in damaged.items()
    ]


def _double(index: Index, rows: list[tuple[str, ...]]) -> Finding:
    return Finding(
        what=f"{index.full_name} let the same key in more than once: it cannot be rebuilt until "
        "one row of each is left. None is deleted here.",
        how="a count by key that uses no index",
        columns=("key", "rows", "where (ctid)"),
        rows=tuple(rows),
        patch=f"Decide which rows of {index.table} stay, delete the others, and run again.",
    )


def _not_ours(index: Index, why: str) -> Finding:
    return Finding(
        what=f"{index.full_name} may not be rebuilt by the maintenance user: {why}.",
        how="pg_has_role, has_schema_privilege",
        patch=f"As a superuser: REINDEX INDEX CONCURRENTLY {index.full_name}",
    )


def _left_as_they_are(verified: list[Verified]) -> list[Finding]:
    left = [
        one.index
        for one in verified
        if one.state is not State.DAMAGED and (one.index.is_catalogue or one.index.exclusion)
    ]
    if not left:
        return []
    return [
        Finding(
            what=f"{counted(len(left), 'index', 'indexes')} cannot be rebuilt concurrently and "
            f"{'stays' if len(left) == 1 else 'stay'}: nothing is seen to be wrong with them.",
            how="pg_index",
            columns=("index", "table", "why"),
            rows=tuple(
                (one.full_name, one.table, "exclusion constraint" if one.exclusion else "catalogue")
                for one in sorted(left, key=lambda one: not one.exclusion)[:_SHOWN]
            ),
        )
    ]


def _not_concurrently(index: Index, why: str) -> Finding:
    what = "an exclusion constraint's" if index.exclusion else "the catalogue's"
    return Finding(
        what=f"{index.full_name} is {what} and cannot be rebuilt concurrently: {why}.",
        how="pg_index",
        patch=f"With the application stopped: REINDEX INDEX {index.full_name}; nobody reads or "
        f"writes {index.table} meanwhile.",
    )
