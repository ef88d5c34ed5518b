"""Gathering candidates: foreign keys without index, and queries that read too much.

Which columns a query would need is read from its plan, and verified by the catalogue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from tasks.database.indexes.candidates import Candidate, weigh
from tasks.database.indexes.costs import Measured
from tasks.database.indexes.key_widths import find_long
from tasks.database.indexes.statistics import (
    Heap,
    UnindexedKey,
    find_covering,
    list_keys,
    lookup_of,
    order_columns,
)
from tasks.database.queries.plan_columns import Wanted, find_wanted
from tasks.database.queries.plan_problems import FEW_PAGES
from tasks.database.queries.plans import explain
from tasks.database.queries.query_statistics import Statement
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection

_MOST_COLUMNS = 3
_SLOW = "queries that took much time"


@dataclass
class Gathered:
    """What was found.

    Args:
        candidates: The candidates, the one that may save most first.
        small: Foreign keys without index whose tables are too small for one to pay.
        partitioned: Those of tables that are cut into partitions.
        unplanned: How many queries could not be planned.
    """

    candidates: list[Candidate] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    partitioned: list[str] = field(default_factory=list)
    unplanned: int = 0


def gather(session: Connection, heaps: Sequence[Heap], statements: Sequence[Statement]) -> Gathered:
    """Gather candidates from foreign keys and from the queries that took the most time.

    Args:
        session: A session in the database.
        heaps: The tables that are looked at; others are left out.
        statements: The queries.
    """
    found = Gathered()
    everything = [*_of_keys(session, heaps, found), *_of_queries(session, heaps, statements, found)]
    by_columns: dict[tuple[object, ...], Candidate] = {}
    for one in everything:
        key = (one.heap.oid, frozenset(one.equal), one.ranged)
        if key in by_columns:
            by_columns[key].take(one)
        else:
            by_columns[key] = one
    kept = list(by_columns.values())
    for one in sorted(kept, key=lambda each: len(each.columns)):
        # One that is not made takes none down that may be.
        if wider := next((each for each in kept if each.serves(one) and not each.long), None):
            wider.take(one)
            kept.remove(one)
    found.candidates = sorted(kept, key=lambda each: (-each.weight, each.on))
    for one in found.candidates:
        weigh(session, one)
    return found


def _of_keys(session: Connection, heaps: Sequence[Heap], found: Gathered) -> Iterator[Candidate]:
    by_oid = {one.oid: one for one in heaps}
    for key in list_keys(session):
        heap = by_oid.get(key.table_oid)
        if heap is None:
            continue
        named = f"{heap.full_name} ({', '.join(key.columns)})"
        if heap.is_partitioned:
            found.partitioned.append(named)
        elif heap.pages < FEW_PAGES:
            found.small.append(named)
        elif candidate := _of_key(session, heap, key, by_oid.get(key.points_at_oid)):
            yield candidate
        else:
            found.unplanned += 1


def _of_key(
    session: Connection, heap: Heap, key: UnindexedKey, parent: Heap | None
) -> Candidate | None:
    query, runs = lookup_of(heap, key.columns), 1 + (parent.deleted if parent else 0)
    try:
        measured = Measured(query=query, cost=explain(session, query).total_cost)
    except RemediationError:  # it is not ours to read, or locked
        if session.closed:
            raise
        return None
    columns = order_columns(session, heap, key.columns)
    return Candidate(heap, columns, (), [f"foreign key {key.name}"], [measured], [runs])


def _of_queries(
    session: Connection, heaps: Sequence[Heap], statements: Sequence[Statement], found: Gathered
) -> Iterator[Candidate]:
    by_name = {(one.schema_name, one.name): one for one in heaps if not one.is_partitioned}
    for one in statements:
        try:
            plan = explain(session, one.query)
        except RemediationError:  # a table that is gone, another search_path, a lock
            if session.closed:
                raise
            found.unplanned += 1
            continue
        for wanted in find_wanted(plan):
            if heap := by_name.get((wanted.schema_name, wanted.table)):
                measured = Measured(query=one.query, cost=plan.total_cost)
                yield from _of_wanted(session, heap, wanted, measured, one.calls)


def _of_wanted(
    session: Connection, heap: Heap, wanted: Wanted, measured: Measured, runs: int
) -> Iterator[Candidate]:
    """Give what would serve a plan; where that may be too long, beside it what is left of it."""
    equal, ranged = _columns(session, heap, wanted)
    if not (equal or ranged) or find_covering(session, heap.oid, equal, ranged):
        return
    long = find_long(session, heap, (*equal, *ranged))
    yield Candidate(heap, equal, ranged, [_SLOW], [measured], [runs], long=long)
    equal = tuple(one for one in equal if one not in long)
    ranged = tuple(one for one in ranged if one not in long)
    if long and (equal or ranged) and not find_covering(session, heap.oid, equal, ranged):
        yield Candidate(heap, equal, ranged, [_SLOW], [measured], [runs])


def _columns(
    session: Connection, heap: Heap, wanted: Wanted
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose columns that an index can have, nothing where one of them cannot be sorted by."""
    equal = order_columns(session, heap, wanted.equal)[:_MOST_COLUMNS]
    ranged = order_columns(session, heap, [one for one in wanted.ranged if one not in equal])[:1]
    query = sql.SQL("SELECT 1 FROM ONLY {} ORDER BY {}").format(
        sql.Identifier(heap.schema_name, heap.name),
        sql.SQL(", ").join(map(sql.Identifier, (*equal, *ranged))),
    )
    try:
        if equal or ranged:
            explain(session, query.as_string())
    except RemediationError:
        if session.closed:
            raise
        return (), ()
    return equal, ranged
