"""Which columns of a condition, as EXPLAIN writes it, an index would serve."""

import pytest

from tasks.database.queries.plan_columns import compared_columns

CASES = {
    "(t.a = $1)": (["a"], []),
    "($1 = t.a)": (["a"], []),
    "((t.a = ?) AND (t.b ~~ ?::text))": (["a"], []),
    "((t.a = ANY ($2)) AND (t.d >= ?::date) AND (t.d < $3))": (["a"], ["d"]),
    "((t.name)::text = ?::text)": (["name"], []),
    "((t.n)::numeric = 1.5)": ([], []),
    "(lower(t.b) = $1)": ([], []),
    "(t.a = t.b)": ([], []),
    "(t.a = (t.a + 1))": ([], []),
    "(other.a = $1)": ([], []),
    "(t.a = other.a)": (["a"], []),
    "((t.a = $1) OR (t.b = $2))": ([], []),
    "(t.c AND (t.a <> $1))": ([], []),
    '(t."The ""Column %s" = ?::text)': (['The "Column %s'], []),
    "((NOT (hashed SubPlan 1)) AND (t.a = (InitPlan 2).col1))": (["a"], []),
    "((t.j ? ?::text) AND (t.a = $1))": ([], []),
    "(t.a = ANY (?::integer[]))": (["a"], []),
    "": ([], []),
    "no SQL at all (": ([], []),
}


@pytest.mark.parametrize("condition", CASES)
def test_columns_that_an_index_serves(condition: str) -> None:
    """Bare columns of the table that are compared with what is not of the same row."""
    found = compared_columns(condition, "t")
    assert (list(found.equal), list(found.ranged)) == CASES[condition]
