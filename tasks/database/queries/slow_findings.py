"""The queries that take the most time, as findings: their share, plan, problems, what to do."""

from collections.abc import Sequence

from tasks.database.queries.measured import Query
from tasks.database.queries.normal_text import shown
from tasks.database.queries.slow_plans import SeenPlan, look_at_plan, topic_of
from tasks.database.queries.slow_queries import (
    Problem,
    find_detour,
    find_problems,
    find_repeated,
    is_read,
)
from tasks.guardrails.plan import Finding
from tasks.guardrails.words import bar, counted
from tasks.platforms.protocols import Connection

_TOP, _AT_LEAST, _SMALL = 10, 3, 0.005
# Below both nobody waits for it: its plan is no finding.
_WORTH_SECONDS, _WORTH_MS = 1.0, 50.0


def describe_queries(
    session: Connection, queries: Sequence[Query], measured: str, how: str
) -> tuple[Finding, ...]:
    """Say which queries take the most time, what is wrong with each, and what to do.

    Args:
        session: A session in the database, to ask for plans.
        queries: What was counted, the one that took the most time first.
        measured: What was measured, as 'Since 2026-01-01 12:00 UTC'.
        how: By what.
    """
    repeated = find_repeated(queries, _find_links(session))
    total = sum(one.seconds for one in queries) or 1.0
    top = [
        one
        for rank, one in enumerate(queries)
        if rank < _AT_LEAST
        or (rank < _TOP and one.seconds >= _SMALL * total)
        or one.text in repeated
    ]
    named = [(f"Q{number}", one) for number, one in enumerate(top, start=1)]
    return (
        _overview(named, queries, total, f"{measured}:", how),
        *(
            _describe(session, name, one, one.seconds / total, repeated.get(one.text))
            for name, one in named
        ),
    )


def _find_links(session: Connection) -> set[frozenset[str]]:
    """Find the tables of which one references the other."""
    rows = session.execute(
        """SELECT a.relname AS one, b.relname AS other FROM pg_constraint f
             JOIN pg_class a ON a.oid = f.conrelid JOIN pg_class b ON b.oid = f.confrelid
           WHERE f.contype = 'f'"""
    ).fetchall()
    return {frozenset({row["one"], row["other"]}) for row in rows}


def _overview(
    named: Sequence[tuple[str, Query]],
    queries: Sequence[Query],
    total: float,
    measured: str,
    how: str,
) -> Finding:
    if not queries:
        return Finding(what=f"{measured} no statement.", how=how)
    share = sum(one.seconds for _, one in named) / total
    return Finding(
        what=f"{measured} {counted(len(queries), 'different statement')} in {total:,.1f} s of the "
        f"server's time; {share:.0%} of it went into those listed.",
        how=how,
        columns=("", "share of time", "seconds", "calls", "ms each", "rows each"),
        rows=tuple(
            (
                name,
                bar(one.seconds / total),
                f"{one.seconds:,.2f}",
                f"{one.calls:,}",
                f"{one.mean:,.2f}",
                f"{one.rows_each:,.1f}" if one.rows >= 0 else "?",
            )
            for name, one in named
        ),
    )


def _describe(
    session: Connection, name: str, query: Query, share: float, repeated: Problem | None
) -> Finding:
    problems = [repeated] if repeated else []
    plan = SeenPlan()
    if query.seconds >= _WORTH_SECONDS or max(query.mean, query.slowest) >= _WORTH_MS:
        problems += find_problems(query)
        plan = look_at_plan(session, query) if is_read(query) else plan
        measured = {topic_of(one.what) for one in problems}
        problems += [one for one in plan.problems if topic_of(one.what) not in measured - {""}]
        if not plan.lines:  # where there is a plan it says more
            problems += find_detour(query)
    said = " ".join(one.what for one in problems)
    return Finding(
        what=f"{name}, {share:.0%} of the time: {_figures(query)}. {shown(query.text)}"
        f"{f'. What is wrong: {said}' if said else ''}",
        how=plan.how,
        columns=("plan",) if plan.lines else (),
        rows=tuple((line,) for line in plan.lines),
        patch="\n".join(dict.fromkeys(one.todo for one in problems)),
    )


def _figures(query: Query) -> str:
    pages = query.hit + query.read
    parts = [f"{counted(query.calls, 'call')} of {query.mean:,.2f} ms by {query.role}"]
    parts += [f"the slowest {query.slowest:,.0f} ms"] if query.slowest else []
    parts += [f"{query.hit / pages:.0%} of its pages in the cache"] if pages else []
    return ", ".join(parts)
