"""The plan of a slow query as a report shows it, with what to do about what is wrong with it."""

from dataclasses import dataclass

from tasks.database.queries.measured import Query
from tasks.database.queries.plans import explain
from tasks.database.queries.slow_queries import ADD_INDEXES, PAGE_IT, Problem, more_memory
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection

_LINES, _WIDTH = 25, 110
_LIMIT, _MEMORY = "LIMIT", "work_mem"
_COUNTED = "what was counted"


@dataclass(frozen=True)
class SeenPlan:
    """A plan, or why there is none.

    Args:
        lines: Its lines.
        problems: What is wrong with it.
        how: By what it was seen.
    """

    lines: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    how: str = _COUNTED


def look_at_plan(session: Connection, query: Query) -> SeenPlan:
    """Ask for the plan of a query, which is not carried out.

    Args:
        session: A session in the database.
        query: A query that only reads.

    Returns:
        The plan; where it cannot be had, why not.
    """
    try:
        plan = explain(session, query.text)
    except RemediationError as error:
        if session.closed:
            raise
        return SeenPlan(how=f"{_COUNTED}; no plan: {error.found}")
    lines = plan.text.splitlines()
    left = len(lines) - _LINES
    return SeenPlan(
        lines=(
            *(_line(one) for one in lines[:_LINES]),
            *((f"... {left} more lines",) if left > 0 else ()),
        ),
        problems=tuple(
            Problem(said, _todo(said, plan.rows * plan.root.width)) for said in plan.problems
        ),
        how=f"{_COUNTED}; EXPLAIN, which carries nothing out"
        + (", for any values of its parameters" if plan.generic else ""),
    )


def topic_of(said: str) -> str:
    """Say what a problem is about, where measuring and planning may both find it; else ''.

    Args:
        said: The problem in words.
    """
    return next((topic for topic in (_LIMIT, _MEMORY) if topic in said), "")


def _todo(said: str, size: float) -> str:
    by_topic = {_LIMIT: PAGE_IT, _MEMORY: more_memory(2 * size)}
    return by_topic.get(topic_of(said), ADD_INDEXES)


def _line(text: str) -> str:
    """Keep how deep it is, where blanks are not kept."""
    bare = text.lstrip()
    deep = "· " * ((len(text) - len(bare)) // 2) + bare
    return deep if len(deep) <= _WIDTH else f"{deep[:_WIDTH]}..."
