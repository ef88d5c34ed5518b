"""Which indexes a database might be missing, each with the queries that would use it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from tasks.database.create_index import CreateIndex, name_of_index
from tasks.database.hypothetical import foretell
from tasks.database.index_catalogue import (
    Heap,
    UnindexedKey,
    find_covering,
    list_keys,
    lookup_of,
    order_columns,
)
from tasks.database.judge_index import MOST_COST_LEFT, JudgeIndex, Measured
from tasks.database.plan_columns import Wanted, find_wanted
from tasks.database.plan_problems import FEW_PAGES
from tasks.database.query_plans import explain
from tasks.database.query_statistics import Statement
from tasks.guardrails.errors import BadInput, RemediationError
from tasks.platforms.protocols import Connection

_MOST_COLUMNS, _MOST_QUERIES = 3, 5
_SLOW = "queries that took much time"


@dataclass
class Candidate:
    """An index that a table might be missing.

    Args:
        heap: The table.
        equal: Columns that are compared by =, the one that tells most rows apart first.
        ranged: The column behind them that is compared by < or >, if any.
        why: What it is for, in words.
        queries: The queries that would use it, with what they cost now.
        runs: How often each was run.
        foretold: What hypopg says of the query that gains most; '' where nobody can say.
        against: Why it is not made; '' where it may be.
    """

    heap: Heap
    equal: tuple[str, ...]
    ranged: tuple[str, ...]
    why: list[str]
    queries: list[Measured]
    runs: list[int]
    foretold: str = ""
    against: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns in order."""
        return (*self.equal, *self.ranged)

    @property
    def on(self) -> str:
        """Table and columns, as people write them."""
        return f"{self.heap.full_name} ({', '.join(self.columns)})"

    @property
    def weight(self) -> float:
        """Cost of all runs of its queries: it cannot save more."""
        return sum(one.cost * runs for one, runs in zip(self.queries, self.runs, strict=True))

    def take(self, other: "Candidate") -> None:
        """Take over what another is for, which this one would serve as well."""
        self.why += [one for one in other.why if one not in self.why]
        known = {one.query for one in self.queries}
        for one, runs in zip(other.queries, other.runs, strict=True):
            if one.query not in known:
                self.queries.append(one)
                self.runs.append(runs)

    def serves(self, other: "Candidate") -> bool:
        """Say whether it would serve whatever another would."""
        if self.heap.oid != other.heap.oid or other is self:
            return False
        first = self.columns[: len(other.equal)]
        behind = self.columns[len(other.equal) : len(other.columns)]
        return set(first) == set(other.equal) and behind == other.ranged

    def changes(self, remediation: str, number: int) -> tuple[CreateIndex, JudgeIndex]:
        """Plan to make it, and to see whether it helps.

        Args:
            remediation: Id of the remediation.
            number: Which of its indexes it is.
        """
        name = name_of_index(self.heap.name, self.columns, remediation, number)
        made = CreateIndex(
            schema_name=self.heap.schema_name,
            name=name,
            table=self.heap.name,
            table_oid=self.heap.oid,
            equal=self.equal,
            ranged=self.ranged,
            why=" and ".join(self.why),
        )
        judged = JudgeIndex(
            schema_name=self.heap.schema_name,
            name=name,
            table=self.heap.name,
            on=made.on,
            queries=tuple(self.queries[:_MOST_QUERIES]),
        )
        return made, judged


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
        if wider := next((each for each in kept if each.serves(one)), None):
            wider.take(one)
            kept.remove(one)
    found.candidates = sorted(kept, key=lambda each: (-each.weight, each.on))
    for one in found.candidates:
        _weigh(session, one)
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
        else:
            yield _of_key(session, heap, key, by_oid.get(key.points_at_oid))


def _of_key(session: Connection, heap: Heap, key: UnindexedKey, parent: Heap | None) -> Candidate:
    query = lookup_of(heap, key.columns)
    return Candidate(
        heap=heap,
        equal=order_columns(session, heap, key.columns),
        ranged=(),
        why=[f"foreign key {key.name}"],
        queries=[Measured(query=query, cost=explain(session, query).total_cost)],
        runs=[1 + (parent.deleted if parent else 0)],
    )


def _of_queries(
    session: Connection, heaps: Sequence[Heap], statements: Sequence[Statement], found: Gathered
) -> Iterator[Candidate]:
    by_name = {(one.schema_name, one.name): one for one in heaps if not one.is_partitioned}
    for one in statements:
        try:
            plan = explain(session, one.query)
        except RemediationError:  # a table that is gone, another search_path, a lock
            found.unplanned += 1
            continue
        for wanted in find_wanted(plan):
            heap = by_name.get((wanted.schema_name, wanted.table))
            columns = _columns(session, heap, wanted) if heap else ((), ())
            if heap and any(columns) and not find_covering(session, heap.oid, *columns):
                measured = Measured(query=one.query, cost=plan.total_cost)
                yield Candidate(heap, *columns, [_SLOW], [measured], [one.calls])


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
    except BadInput:
        return (), ()
    return equal, ranged


def _weigh(session: Connection, one: Candidate) -> None:
    """Say what speaks against a candidate, and what hypopg foretells."""
    if not one.heap.ours:
        one.against = "the maintenance user may not make indexes on the table"
    elif one.heap.building:
        one.against = "somebody builds an index on the table now"
    else:
        _ask_hypopg(session, one)


def _ask_hypopg(session: Connection, one: Candidate) -> None:
    index = sql.SQL("CREATE INDEX ON {} ({})").format(
        sql.Identifier(one.heap.schema_name, one.heap.name),
        sql.SQL(", ").join(map(sql.Identifier, one.columns)),
    )
    best: tuple[float, str] | None = None
    for measured in one.queries[:_MOST_QUERIES]:
        foretold = foretell(session, measured.query, index.as_string())
        if foretold is None:
            return
        cost = foretold.plan.total_cost
        share = cost / measured.cost if foretold.used and measured.cost else 1.0
        if best is None or share < best[0]:
            best = (share, f"{measured.cost:,.2f} -> {cost:,.2f}")
    if best is not None:
        one.foretold = best[1]
        if best[0] > MOST_COST_LEFT:
            one.against = "it would not help"
