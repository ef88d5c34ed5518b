"""Which indexes a database might be missing, each with the queries that would use it."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from tasks.database.indexes.costs import Measured
from tasks.database.indexes.create_index import CreateIndex, name_of_index
from tasks.database.indexes.judge_index import MOST_COST_LEFT, JudgeIndex
from tasks.database.indexes.statistics import Heap
from tasks.database.queries.hypothetical import foretell
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.protocols import Connection

_MOST_QUERIES = 5
_SHOWN = 30


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
        long: Those of its columns that may be too long for an index.
    """

    heap: Heap
    equal: tuple[str, ...]
    ranged: tuple[str, ...]
    why: list[str]
    queries: list[Measured]
    runs: list[int]
    foretold: str = ""
    against: str = ""
    long: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns in order."""
        return (*self.equal, *self.ranged)

    @property
    def on(self) -> str:
        """Table and columns, as people write them."""
        return f"{self.heap.full_name} ({', '.join(self.columns)})"

    @property
    def statement(self) -> str:
        """The statement that would make it."""
        return (
            sql.SQL("CREATE INDEX ON {} ({})")
            .format(
                sql.Identifier(self.heap.schema_name, self.heap.name),
                sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            )
            .as_string()
        )

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
        queries = tuple(self.queries[:_MOST_QUERIES])
        made = CreateIndex(
            schema_name=self.heap.schema_name,
            name=name,
            table=self.heap.name,
            table_oid=self.heap.oid,
            equal=self.equal,
            ranged=self.ranged,
            why=" and ".join(self.why),
            queries=tuple(one.query for one in queries),
        )
        judged = JudgeIndex(
            schema_name=self.heap.schema_name,
            name=name,
            table=self.heap.name,
            on=made.on,
            queries=queries,
        )
        return made, judged


def describe_long(candidates: Sequence[Candidate]) -> tuple[Finding, ...]:
    """Say which indexes are for a person to decide on, as their columns may be too long.

    Args:
        candidates: All candidates, weighed.
    """
    refused = [one for one in candidates if one.long and one.heap.ours]
    if not refused:
        return ()
    return (
        Finding(
            what=f"{counted(len(refused), 'index', 'indexes')} would be on columns of a type "
            "whose values may be long: of more than about 2,700 bytes an INSERT or UPDATE would "
            "fail from then on. Whether one ever comes no statistics can say.",
            how="pg_attribute, pg_type",
            columns=("table (columns)", "may be too long"),
            rows=tuple((one.on, ", ".join(one.long)) for one in refused[:_SHOWN]),
            patch="Where the application keeps them short: "
            + "; ".join(
                one.statement.replace("INDEX ON", "INDEX CONCURRENTLY ON", 1)
                for one in refused[:_SHOWN]
            ),
        ),
    )


def weigh(session: Connection, one: Candidate) -> None:
    """Note what speaks against a candidate, and what hypopg foretells.

    Args:
        session: A session in the database.
        one: The candidate.
    """
    if not one.heap.ours:
        one.against = "the maintenance user may not make indexes on the table"
    elif one.heap.building:
        one.against = "somebody builds an index on the table now"
    elif one.long:
        one.against = (
            f"{', '.join(one.long)} may be longer than an index can hold: writes of such a row "
            "would fail from then on"
        )
    else:
        _ask_hypopg(session, one)


def _ask_hypopg(session: Connection, one: Candidate) -> None:
    best: tuple[float, str] | None = None
    for measured in one.queries[:_MOST_QUERIES]:
        try:
            foretold = foretell(session, measured.query, one.statement)
        except RemediationError:  # it is seen when the index is built
            if session.closed:
                raise
            return
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
