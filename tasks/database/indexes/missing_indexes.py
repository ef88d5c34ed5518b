"""What is said of indexes that are missing, and of those that nobody uses."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.database.disk import DISK_RESERVE
from tasks.database.indexes.candidates import Candidate, describe_long
from tasks.database.indexes.gathering import Gathered, gather
from tasks.database.indexes.statistics import Heap, estimate_size, list_heaps
from tasks.database.indexes.unused_indexes import find_unused_indexes, measured_since
from tasks.database.queries.hypothetical import UNFORETOLD, find_hypopg
from tasks.database.queries.normal_text import without_literals
from tasks.database.queries.plan_problems import FEW_PAGES
from tasks.database.queries.query_statistics import Statements, list_statements
from tasks.guardrails.errors import BadInput
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_BYTES_A_SECOND = 20e6
_SHOWN = 30


@dataclass(frozen=True)
class Found:
    """The indexes that are made, and what was found.

    Args:
        findings: What was found, for the plan.
        changes: What makes each index and sees whether it helps.
        made: How many indexes are made.
        disk_needed: Bytes for them and the largest one's sort, with what has to stay free.
        disk_free: Bytes free, None where unknown.
        size: Bytes that are read for building them.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    made: int
    disk_needed: int
    disk_free: int | None
    size: int

    @property
    def duration(self) -> str:
        """How long it will take, roughly."""
        return f"about {max(1, self.size / _BYTES_A_SECOND):.0f} s"


@probe
def find_missing_indexes(
    target: str, at_most: int, tables: list[str] | None, remediation: str
) -> Found:
    """Find what indexes would save, and plan those that may save most.

    Args:
        target: Name of the target.
        at_most: So many are made.
        tables: Names of the tables that are looked at, with or without schema; None for all.
        remediation: Id of the remediation.

    Returns:
        Findings and changes.

    Raises:
        BadInput: A table of that name is not there.
        Transient: A table is locked.
    """
    database = targets.load(target).database
    # The size of a table waits for who has locked it.
    with database.connect(lock_timeout="1s", statement_timeout="30s") as session:
        every = list_heaps(session)
        heaps = _chosen(every, tables)
        statements = list_statements(session)
        gathered = gather(session, heaps, statements.known)
        possible = [one for one in gathered.candidates if not one.against]
        for late in possible[at_most:]:
            late.against = f"not in this run: at most {counted(at_most, 'index', 'indexes')}"
        made = possible[:at_most]
        sizes = [estimate_size(session, one.heap, one.columns) for one in made]
        findings = (
            _candidates(gathered.candidates, foretold=bool(find_hypopg(session))),
            *_evidence(gathered.candidates),
            *describe_long(gathered.candidates),
            *_unknown(statements, gathered),
            *_left_out(gathered),
            _read_as_a_whole(session, every),
            find_unused_indexes(session),
        )
    return Found(
        findings=findings,
        changes=tuple(
            change
            for number, one in enumerate(made, start=1)
            for change in one.changes(remediation, number)
        ),
        made=len(made),
        disk_needed=sum(sizes) + max(sizes, default=0) + DISK_RESERVE,
        disk_free=database.free_bytes(),
        size=sum(2 * one.heap.pages * 8192 for one in made),  # a concurrent build reads twice
    )


def _chosen(heaps: Sequence[Heap], tables: list[str] | None) -> list[Heap]:
    if not tables:
        return list(heaps)
    known = {name for one in heaps for name in (one.name, one.full_name)}
    if unknown := sorted(set(tables) - known):
        raise BadInput(
            expected="names of tables in the database, as 'projects' or 'public.projects'.",
            found=f"{', '.join(map(repr, unknown))}: no such table.",
            todo="`\\dt *.*` in psql lists the tables.",
        )
    return [one for one in heaps if {one.name, one.full_name} & set(tables)]


def _candidates(candidates: Sequence[Candidate], *, foretold: bool) -> Finding:
    made = sum(not one.against for one in candidates)
    how = (
        "Whether each helps is foretold by hypopg, and seen again"
        if foretold
        else f"Whether each helps {UNFORETOLD}; it is seen"
    )
    refused = [one for one in candidates if not one.heap.ours]
    return Finding(
        what=f"{counted(len(candidates), 'index', 'indexes')} might be missing, and "
        f"{counted(made, 'is', 'are')} made now. {how} when it is built: one that the planner does "
        "not use, or that saves less than a fifth of a query's cost, is dropped again.",
        how="pg_constraint, pg_index; plans (EXPLAIN) of the queries in pg_stat_statements",
        columns=("table (columns)", "for", "cost now", "foretold", "what becomes of it")
        if candidates
        else (),
        rows=tuple(
            (
                one.on,
                " and ".join(one.why),
                f"{max(query.cost for query in one.queries):,.2f}",
                one.foretold or "?",
                one.against or "made",
            )
            for one in candidates[:_SHOWN]
        ),
        patch="As the owner of the table or a superuser: "
        + "; ".join(
            one.statement.replace("INDEX ON", "INDEX CONCURRENTLY ON", 1)
            for one in refused[:_SHOWN]
        )
        if refused
        else "",
    )


def _evidence(candidates: Sequence[Candidate]) -> tuple[Finding, ...]:
    if not candidates:
        return ()
    return (
        Finding(
            what="The queries that they are wanted for. Costs are the planner's estimates, in its "
            "units: 1 is a page read in order.",
            how="EXPLAIN with a generic plan; no query was carried out",
            columns=("table (columns)", "query", "cost now", "runs"),
            rows=tuple(
                (one.on, without_literals(query.query), f"{query.cost:,.2f}", f"{runs:,}")
                for one in candidates
                for query, runs in list(zip(one.queries, one.runs, strict=True))[:5]
            )[:_SHOWN],
        ),
    )


def _unknown(statements: Statements, gathered: Gathered) -> tuple[Finding, ...]:
    found = []
    if statements.unknown:
        found.append(
            Finding(
                what=statements.unknown, how="pg_extension, pg_has_role", patch=statements.patch
            )
        )
    if gathered.unplanned:
        many = counted(gathered.unplanned, "query", "queries")
        found.append(
            Finding(
                what=f"{many} could not be planned: their tables are gone or temporary, are not "
                "the maintenance user's to read, or their text is no SQL without its values.",
                how="EXPLAIN",
            )
        )
    return tuple(found)


def _left_out(gathered: Gathered) -> tuple[Finding, ...]:
    found = []
    if gathered.small:
        found.append(
            Finding(
                what=f"{counted(len(gathered.small), 'foreign key')} without index on tables of "
                f"less than {FEW_PAGES * 8} kB: they are read faster as a whole.",
                how="pg_constraint, pg_relation_size",
                columns=("table (columns)",),
                rows=tuple((one,) for one in gathered.small[:_SHOWN]),
            )
        )
    if gathered.partitioned:
        found.append(
            Finding(
                what="Foreign keys without index of partitioned tables: no index is built on "
                f"those concurrently: {'; '.join(gathered.partitioned[:_SHOWN])}.",
                how="pg_constraint",
                patch="CREATE INDEX ON ONLY the table, CREATE INDEX CONCURRENTLY on each "
                "partition, then ALTER INDEX ... ATTACH PARTITION for each.",
            )
        )
    return tuple(found)


def _read_as_a_whole(session: Connection, heaps: Sequence[Heap]) -> Finding:
    read = sorted((one for one in heaps if one.scans), key=lambda one: -one.read)
    without = sum(not one.index_scans for one in heaps)
    return Finding(
        what=f"Tables that were read as a whole since {measured_since(session)}, the most rows "
        f"first. {counted(without, 'table')} were read by no index at all: these, and no missing "
        "index, are what the guide's idx_scan = 0 lists. Which column an index would need only a "
        "query can say.",
        how="pg_stat_all_tables",
        columns=("table", "MB", "rows", "times read", "rows read so", "times read by index"),
        rows=tuple(
            (
                one.full_name,
                f"{one.pages * 8192 / 1e6:,.1f}",
                f"{one.rows:,.0f}",
                f"{one.scans:,}",
                f"{one.read:,}",
                f"{one.index_scans:,}",
            )
            for one in read[:_SHOWN]
        ),
    )
