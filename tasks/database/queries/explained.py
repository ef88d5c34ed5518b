"""A query's plan as findings: how it is carried out, what is wrong, what an index would change."""

from collections.abc import Iterator

from psycopg import sql

from tasks.database.queries.hypothetical import UNFORETOLD, concurrently, foretell, read_index
from tasks.database.queries.normal_text import without_literals
from tasks.database.queries.plan_columns import Wanted, find_wanted
from tasks.database.queries.plan_nodes import PlanNode
from tasks.database.queries.plans import QueryPlan, explain
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_COLUMNS = ("what is done", "cost until done", "rows", "by")
_NOT_RUN = "EXPLAIN (FORMAT JSON, VERBOSE) in a read-only transaction; the query was not run"


@probe
def explain_query(target: str, query: str, index: str) -> tuple[Finding, ...]:
    """Read how the server would carry a query out, without having it carried out.

    Args:
        target: Name of the target.
        query: The query.
        index: An index that is not there, as a statement or 'table (column)'; '' for none.

    Returns:
        The plan, what is wrong with it, and what an index would change.

    Raises:
        BadInput: The query is no single statement that can be explained, or the index none.
        Transient: A table is locked.
    """
    asked = read_index(index) if index else ""
    database = targets.load(target).database
    # The size of a table waits for who has locked it.
    with database.connect(lock_timeout="1s", statement_timeout="30s") as session:
        plan = explain(session, query)
        wanted = find_wanted(plan)
        ideas = [asked] if asked else [_statement(one) for one in wanted]
        return (
            _described(plan),
            *(Finding(what=problem, how="its plan") for problem in plan.problems),
            *(_with_index(session, query, plan, one) for one in ideas),
        )


def _described(plan: QueryPlan) -> Finding:
    planned = "for any values of its parameters" if plan.generic else "for the values in it"
    problems = counted(len(plan.problems), "problem")
    return Finding(
        what=f"{plan.statement}: planned {planned} it costs {plan.total_cost:,.2f} (1 is a page "
        f"read in order) and gives about {plan.rows:,.0f} rows; {problems}. All numbers are the "
        "planner's estimates.",
        how=_NOT_RUN,
        columns=_COLUMNS,
        rows=tuple(_rows(plan.root)),
    )


def _rows(node: PlanNode, depth: int = 0) -> Iterator[tuple[str, ...]]:
    of = f" using {node.index}" if node.index else ""
    on = f" on {node.full_table}" if node.table else ""
    by = [f"{name}: {text}" for name, text in node.conditions]
    if node.sort_key:
        by.append(f"Sort Key: {', '.join(node.sort_key)}")
    yield (
        f"{'> ' * depth}{node.type}{of}{on}",
        f"{node.total_cost:,.2f}",
        f"{node.rows:,.0f}",
        "; ".join(by),
    )
    for child in node.children:
        yield from _rows(child, depth + 1)


def _statement(wanted: Wanted) -> str:
    return (
        sql.SQL("CREATE INDEX ON {} ({})")
        .format(
            sql.Identifier(wanted.schema_name, wanted.table),
            sql.SQL(", ").join(map(sql.Identifier, (*wanted.equal, *wanted.ranged[:1]))),
        )
        .as_string()
    )


def _with_index(session: Connection, query: str, plan: QueryPlan, index: str) -> Finding:
    shown = without_literals(index)
    foretold = foretell(session, query, index)
    if foretold is None:
        return Finding(
            what=f"What {shown} would change {UNFORETOLD}.",
            how="pg_extension",
            patch="To have it foretold, as a superuser: CREATE EXTENSION hypopg (it comes in a "
            "package of its own). Or run add_indexes: it builds what such queries lack, and drops "
            "again what does not help.",
        )
    saved = 1 - foretold.plan.total_cost / plan.total_cost if plan.total_cost else 0.0
    told = f"it would cost {foretold.plan.total_cost:,.2f} instead of {plan.total_cost:,.2f}"
    if not foretold.used:
        told = "nothing would change: the planner would not use it"
    return Finding(
        what=f"With {shown} {told}.",
        how="hypopg: the index was not built",
        columns=_COLUMNS if foretold.used else (),
        rows=tuple(_rows(foretold.plan.root)) if foretold.used else (),
        patch=f"{without_literals(concurrently(index))} saves about {saved:.0%} of its cost; "
        "add_indexes builds it so that nobody waits, and an undo drops it."
        if foretold.used and saved > 0
        else "",
    )
