"""What queries cost without an index: as planned, and right before it was built.

Between a plan and what is done by it lies an approval, which may take a day: rows and statistics
may be others by then. What was measured last stands in the comment of the index until it is
judged, so that it outlives the process that measured it.
"""

import json
import re
from collections.abc import Sequence
from itertools import zip_longest

from pydantic import BaseModel, ConfigDict

from tasks.database.queries.plans import QueryPlan, explain
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.protocols import Connection

_UNJUDGED = re.compile(r"; not judged yet(?:; without it (?P<costs>\[[^]]*\]))?$")


class Measured(BaseModel):
    """A query that an index is wanted for, and what it costs without.

    Args:
        query: The query without values, as the server can plan it.
        cost: Its cost in the planner's units.
    """

    model_config = ConfigDict(frozen=True)

    query: str
    cost: float


def plan_or_none(session: Connection, query: str) -> QueryPlan | None:
    """Plan a query, None where it cannot be planned any more: what it reads is gone meanwhile.

    Args:
        session: A session in the database.
        query: The query.

    Raises:
        Transient: A table was locked, or the connection is gone.
    """
    try:
        return explain(session, query)
    except Transient:
        raise
    except RemediationError:
        if session.closed:
            raise
        return None


def costs_without(session: Connection, queries: Sequence[str]) -> tuple[float | None, ...]:
    """Measure what queries cost now, before their index is built; None for one without a plan."""
    plans = [plan_or_none(session, query) for query in queries]
    return tuple(None if plan is None else plan.total_cost for plan in plans)


def unjudged(text: str, costs: Sequence[float | None]) -> str:
    """Write a comment's text for an index that nobody has judged yet.

    Args:
        text: What the index is for.
        costs: What its queries cost right before; empty where nobody has measured it.
    """
    return f"{text}; not judged yet" + (f"; without it {json.dumps(costs)}" if costs else "")


def read_unjudged(comment: str, many: int) -> tuple[str, tuple[float | None, ...]]:
    """Read what `unjudged` wrote.

    Args:
        comment: The comment.
        many: How many queries there are.

    Returns:
        The text, and what each query cost right before; None where nobody knows.
    """
    found = _UNJUDGED.search(comment)
    text = comment[: found.start()] if found else comment
    costs = json.loads(found["costs"]) if found and found["costs"] else []
    return text, tuple(cost for cost, _ in zip_longest(costs[:many], range(many)))
