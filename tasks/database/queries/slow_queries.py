"""What is wrong with a statement by what was counted of it, in words, and what to do about it."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.database.queries.measured import Query
from tasks.database.queries.normal_text import first_word
from tasks.guardrails.words import counted

ADD_INDEXES = "Run add_indexes: it finds the index that serves its WHERE, JOIN or ORDER BY."
PAGE_IT = (
    "Give it a LIMIT, and page by key: "
    "select(Thing).where(Thing.id > last).order_by(Thing.id).limit(100)"
)
_MANY_ROWS = 1000  # given by one call
_LIMIT = re.compile(r"\b(limit|fetch (first|next))\b", re.IGNORECASE)
_PAGE = 8192
_MANY_PAGES, _PAGES_A_ROW = 1000, 100
_COLD = 0.9
# Cheap, for few rows each, and about as often as another one gave rows: not more often, and
# less where the application remembers what it has loaded.
_CHEAP_MS, _FEW_ROWS, _REPEATED, _FEW_PARENTS = 5.0, 50.0, 100, 5
_ABOUT_AS_MANY = (0.5, 1.1)
_ONE_ROW, _FAR_MORE, _VERY_MANY = 1.5, 20, 1000
_TABLE = re.compile(
    r'\b(?:from|join)\s+(?:only\s+)?(?:(?:"[^"]+"|[\w$]+)\.)?("[^"]+"|[\w$]+)', re.IGNORECASE
)


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a query.

    Args:
        what: A sentence with figures.
        todo: What to do about it.
    """

    what: str
    todo: str


def find_problems(query: Query) -> list[Problem]:
    """Say what is wrong with a query by itself.

    Args:
        query: What was counted of it.

    Returns:
        A problem for each: it gives too much, spills, reads past the cache.
    """
    calls = max(1, query.calls)
    problems = []
    if is_read(query) and query.rows_each >= _MANY_ROWS and not _LIMIT.search(query.text):
        problems.append(
            Problem(f"Each call gives {query.rows_each:,.0f} rows, and it has no LIMIT.", PAGE_IT)
        )
    if query.spilled:
        spilled = query.spilled * _PAGE / calls
        problems.append(
            Problem(
                f"A sort or hash does not fit into work_mem: each call writes "
                f"{_size(spilled)} to disk for it.",
                more_memory(3 * spilled),
            )
        )
    if query.read >= _MANY_PAGES * calls and query.hit < _COLD * (query.hit + query.read):
        problems.append(
            Problem(
                f"Each call reads {_size(query.read * _PAGE / calls)} that are not in the "
                "server's cache.",
                "Let it read less (index, LIMIT); else a larger shared_buffers.",
            )
        )
    return problems


def find_detour(query: Query) -> list[Problem]:
    """Say where a query goes through many pages for few rows, whatever its plan shows.

    Args:
        query: What was counted of it.
    """
    pages = (query.hit + query.read) / max(1, query.calls)
    if query.rows_each < 0 or pages < _MANY_PAGES * max(1.0, query.rows_each / _PAGES_A_ROW):
        return []
    return [
        Problem(
            f"Each call goes through {_size(pages * _PAGE)} of pages for "
            f"{query.rows_each:,.1f} rows: no index leads to them.",
            ADD_INDEXES,
        )
    ]


def more_memory(needed: float) -> str:
    """Say how to have a sort in memory.

    Args:
        needed: Bytes that it needs there, about.
    """
    enough = 8
    while enough < needed / 1e6:
        enough *= 2
    return (
        "An index in the order that it sorts by; or more memory, for it alone: "
        f"SET LOCAL work_mem = '{enough}MB' in its transaction. Set for a role, every sort of "
        "every session may take that much."
    )


def find_repeated(queries: Sequence[Query], linked: set[frozenset[str]]) -> dict[str, Problem]:
    """Find queries that are run once for each row of another one: N+1.

    Args:
        queries: All that were counted.
        linked: Names of tables of which one references the other.

    Returns:
        The problem by the query's text.
    """
    reads = [one for one in queries if is_read(one) and one.rows >= 0]
    usual = statistics.median([one.calls for one in reads] or [0])
    found = {}
    for one in reads:
        if one.calls < _REPEATED or one.mean > _CHEAP_MS or "$" not in one.text:
            continue
        parent = _parent(one, reads, linked)
        if parent is not None and one.rows_each <= _FEW_ROWS:
            why = (
                f"about once for each of the {parent.rows:,} rows that came of "
                f"{counted(parent.calls, 'call')} of: {parent.text[:80]}"
            )
        elif one.rows_each <= _ONE_ROW and one.calls >= max(_VERY_MANY, _FAR_MORE * usual):
            why = f"{one.calls / max(1, usual):,.0f} times as often as the query in the middle"
        else:
            continue
        found[one.text] = Problem(
            f"N+1: it was called {one.calls:,} times for {one.rows:,} rows in all, {why}. Each "
            "call costs a round trip beside its time.",
            "Load them all at once with the query before it: "
            "select(Parent).options(selectinload(Parent.children)) in SQLAlchemy, or "
            "WHERE id = ANY ($1)",
        )
    return found


def _parent(child: Query, reads: Sequence[Query], linked: set[frozenset[str]]) -> Query | None:
    """Find the query whose rows it follows: few calls with many rows, as many as its calls.

    Numbers may be alike by chance, so its tables have to be linked with the child's.
    """
    least, most = _ABOUT_AS_MANY
    tables = tables_in(child.text)
    parents = [
        one
        for one in reads
        if one.text != child.text
        and one.role == child.role
        and one.rows_each >= _FEW_PARENTS
        and one.calls * _FEW_PARENTS <= child.calls
        and least <= child.calls / one.rows <= most
        and any(frozenset({a, b}) in linked for a in tables for b in tables_in(one.text))
    ]
    return min(parents, key=lambda one: abs(child.calls - one.rows), default=None)


def tables_in(text: str) -> set[str]:
    """Give the names behind FROM and JOIN in a statement, without their schemas.

    Args:
        text: The statement without literals.
    """
    return {name[1:-1] if name.startswith('"') else name.lower() for name in _TABLE.findall(text)}


def is_read(query: Query) -> bool:
    """Say whether a query reads, by its first word."""
    return first_word(query.text) in {"SELECT", "WITH", "TABLE", "VALUES"}


def _size(number: float) -> str:
    return f"{number / 1e6:,.1f} MB"
