"""What is wrong with a query by what was counted of it."""

import pytest

from tasks.database.queries.measured import Counted, Query, queries_of
from tasks.database.queries.slow_queries import find_detour, find_problems, find_repeated, tables_in
from tasks.guardrails.words import bar


def query(text: str, calls: int, seconds: float, rows: int, **more: int) -> Query:
    """Make a query as it was counted."""
    return Query(text=text, role="app", calls=calls, seconds=seconds, rows=rows, **more)


LINKED = {frozenset({"tasks", "owners"})}
LISTS = query("SELECT id, owner FROM tasks LIMIT $1", 20, 0.1, 1000)
LOOKUP = query("SELECT name FROM owners WHERE id = $1", 990, 0.02, 990)


def test_one_query_for_each_row_of_another_is_found() -> None:
    """It is named with both figures, and how to load all at once."""
    found = find_repeated([LISTS, LOOKUP], LINKED)
    assert list(found) == [LOOKUP.text]
    assert "called 990 times" in found[LOOKUP.text].what
    assert "each of the 1,000 rows that came of 20 calls of: SELECT id, owner" in (
        found[LOOKUP.text].what
    )
    assert "selectinload" in found[LOOKUP.text].todo


def test_very_many_lookups_are_found_without_their_list() -> None:
    """Whose rows they follow may have been thrown out: they stand out by their number."""
    others = [query(f"SELECT {n} FROM t", 10, 1.0, 10) for n in range(5)]
    found = find_repeated([*others, query(LOOKUP.text, 5000, 0.1, 5000)], set())
    assert "500 times as often as the query in the middle" in found[LOOKUP.text].what


@pytest.mark.parametrize(
    "other",
    [
        query("SELECT name FROM owners WHERE id = $1", 20, 0.02, 20),  # once for each list
        query("SELECT name FROM owners WHERE id = $1", 400, 0.02, 400),  # for less than half
        query("SELECT name FROM owners WHERE id = $1", 990, 0.02, 99_000),  # gives many
        query("SELECT name FROM owners WHERE id = $1", 1500, 0.02, 1500),  # more often than rows
        query("SELECT name FROM logins WHERE id = $1", 990, 0.02, 990),  # has to do with others
        query("SELECT name FROM owners WHERE id = $1", 990, 99.0, 990),  # is slow by itself
        query("UPDATE owners SET a = $2 WHERE id = $1", 990, 0.02, 990),  # is no lookup
    ],
)
def test_other_queries_are_no_n_plus_one(other: Query) -> None:
    """Often by itself is no pattern: it has to be cheap, for one row, and follow another's rows."""
    assert find_repeated([LISTS, other], LINKED) == {}


def test_children_of_each_row_are_found_too() -> None:
    """A list of children for each parent has more or fewer rows than one."""
    parents = query("SELECT id FROM owners WHERE true", 2, 0.1, 200)
    children = query("SELECT id FROM tasks WHERE owner_id = $1", 200, 0.1, 3000)
    assert list(find_repeated([parents, children], LINKED)) == [children.text]


def test_tables_are_found_in_statements() -> None:
    """Behind FROM and JOIN, quoted or not, without their schemas."""
    text = 'SELECT a FROM "my schema"."Work items" w JOIN public.Owners o ON true, x FROM ONLY t'
    assert tables_in(text) == {"Work items", "owners", "t"}


def test_no_limit_and_spills_are_told_with_figures() -> None:
    """Rows by call, and megabytes written by call."""
    (limit, spill) = find_problems(query("SELECT a FROM t", 10, 9.0, 50_000, spilled=2560))
    assert limit.what == "Each call gives 5,000 rows, and it has no LIMIT."
    assert "each call writes 2.1 MB to disk" in spill.what
    assert "work_mem = '8MB'" in spill.todo
    assert find_problems(query("SELECT a FROM t LIMIT $1", 10, 9.0, 50_000)) == []
    assert find_problems(query("INSERT INTO t SELECT a FROM u", 10, 9.0, 50_000)) == []


def test_many_pages_for_few_rows_are_a_detour() -> None:
    """What reads thousands of pages for one row has no index; for many rows it may be right."""
    (told,) = find_detour(query("DELETE FROM t WHERE a = $1", 10, 1.0, 10, hit=20_000))
    assert "goes through 16.4 MB of pages for 1.0 rows" in told.what
    assert "add_indexes" in told.todo
    assert find_detour(query("SELECT a FROM t", 10, 1.0, 1_000_000, hit=20_000)) == []


def test_cold_reads_are_told() -> None:
    """Pages that are read past the cache each time."""
    (told,) = find_problems(query("SELECT a FROM t", 10, 1.0, 10, hit=100, read=20_000))
    assert "reads 16.4 MB that are not in the server's cache" in told.what


def counted(**queries: tuple[str, tuple[float, ...]]) -> Counted:
    """Make a look at what was counted: text, then ms, calls, rows, hit, read, spilled by id."""
    return Counted(
        since="",
        evicted=0,
        counts={("app", id_): counts for id_, (_, counts) in queries.items()},
        texts={("app", id_): text for id_, (text, _) in queries.items()},
    )


def test_a_window_is_the_difference_of_two_looks() -> None:
    """What came since counts; what was reset in between counts from there; what stood does not."""
    before = counted(
        a=("SELECT a", (1000.0, 10, 10, 0, 0, 0)),
        b=("SELECT b", (5000.0, 50, 50, 0, 0, 0)),
        c=("SELECT c", (9000.0, 90, 90, 0, 0, 0)),
    )
    now = counted(
        a=("SELECT a", (1500.0, 12, 13, 0, 0, 0)),
        b=("SELECT b", (5000.0, 50, 50, 0, 0, 0)),
        c=("SELECT c", (700.0, 7, 7, 0, 0, 0)),
        d=("SELECT d", (100.0, 1, 1, 0, 0, 0)),
    )
    found = queries_of(now, before)
    assert [(one.text, one.calls, one.seconds) for one in found] == [
        ("SELECT c", 7, 0.7),
        ("SELECT a", 2, 0.5),
        ("SELECT d", 1, 0.1),
    ]


def test_lists_of_other_lengths_are_one_query_and_roles_may_be_left_out() -> None:
    """Each length of an IN list has an id of its own in the statistics."""
    one = counted(
        a=("SELECT a FROM t WHERE b IN ($1,$2)", (10.0, 1, 2, 0, 0, 0)),
        b=("SELECT a FROM t WHERE b IN ($1, $2, $3)", (20.0, 1, 3, 0, 0, 0)),
    )
    (found,) = queries_of(one)
    assert (found.calls, found.rows, found.seconds) == (2, 5, 0.03)
    assert queries_of(one, but=("app",)) == []


def test_bars_have_one_length() -> None:
    """A share is drawn, with its percentage."""
    assert bar(0.5) == "████░░░░  50%"
    assert bar(0.001) == "░░░░░░░░   0%"
    assert bar(1) == "████████ 100%"
