"""Both databases compared by their rows, and compared again from what was known already."""

import pytest
from psycopg.errors import FeatureNotSupported

from tasks.database.copies.baseline import Baseline, compare_databases, lost_since
from tasks.database.copies.differences import measure_differences
from tasks.database.copies.rows_lost import RowsLost
from tests.postgres_fixtures import WORK, Cluster, PlannerSystem

COPY = "copy_of_planner"


@pytest.fixture
def copied(planner: Cluster) -> Cluster:
    """Live and a copy of it that does not differ."""
    try:
        planner.run(
            "CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2',"
            " deterministic = false)",
            "planner",
        )
    except FeatureNotSupported:  # built without ICU: no collation there overlooks case
        planner.run('CREATE COLLATION no_case FROM "C"', "planner")
    planner.run(
        """CREATE TABLE odd (id int PRIMARY KEY, a int, b int, word text COLLATE no_case,
             seen timestamptz, on_day date, words text[], health roletype, is_new bool);
           INSERT INTO odd SELECT i, i, i + 1, 'word', now(), now(), ARRAY['a'], 'ADMIN', true
             FROM generate_series(1, 100) i;
           ALTER TABLE odd OWNER TO planner""",
        "planner",
    )
    planner.run(f"CREATE DATABASE {COPY} OWNER planner TEMPLATE planner")
    return planner


def baseline(system: PlannerSystem) -> Baseline:
    """Compare for later."""
    return compare_databases(system.database, "planner", COPY)[1]


def full(system: PlannerSystem) -> int:
    """Count what is lost from scratch."""
    return sum(one.lost for one in measure_differences(system.database, "planner", COPY))


@pytest.mark.parametrize(
    "change",
    [
        "a = b, b = a",
        "word = upper(word)",
        "seen = seen + interval '1 microsecond'",
        "on_day = on_day + 1",
        "words = array_append(words, 'b')",
        "health = 'VIEWER'",
        "is_new = NULL",
        "a = NULL",
    ],
)
def test_a_change_of_any_type_is_seen(
    copied: Cluster, planner_system: PlannerSystem, change: str
) -> None:
    """Exchanged values, letters' case under a collation that overlooks it, nulls."""
    copied.run(f"UPDATE odd SET {change} WHERE id = 7", "planner")
    found = measure_differences(planner_system.database, "planner", COPY)
    assert [(one.table, one.changed, one.named) for one in found] == [("public.odd", 1, ("(7)",))]


def test_rows_alike_count_each_where_there_is_no_key(
    copied: Cluster, planner_system: PlannerSystem
) -> None:
    """Three new rows with one text are three rows lost, two that are gone are two back."""
    copied.run("INSERT INTO notes_without_key VALUES ('x'), ('x'), ('x')", "planner")
    copied.run("INSERT INTO notes_without_key VALUES ('y'), ('y')", COPY)
    (found,) = measure_differences(planner_system.database, "planner", COPY)
    assert (found.added, found.changed, found.deleted) == (3, 0, 2)


def test_only_what_is_newer_is_compared_again(
    copied: Cluster, planner_system: PlannerSystem
) -> None:
    """What was lost at the baseline counts on, with what was written, vacuumed or not."""
    copied.run("UPDATE projects SET budget = 1 WHERE name LIKE 'Project 12%'", "planner")
    copied.run("DELETE FROM tickets WHERE id < 10", "planner")
    then = baseline(planner_system)
    at_first = full(planner_system)
    assert lost_since(planner_system.database, "planner", COPY, then) == at_first > 0
    copied.run(
        """UPDATE users SET version = 2 WHERE username IN ('user1', 'user2');
           UPDATE odd SET a = a;
           INSERT INTO programs SELECT gen_random_uuid(), name, notes, now(), now()
             FROM programs LIMIT 5;
           INSERT INTO notes_without_key VALUES ('x'), ('x');
           DELETE FROM tickets WHERE id < 20""",
        "planner",
    )
    copied.run("VACUUM (FREEZE) programs", "planner")
    counted = lost_since(planner_system.database, "planner", COPY, then)
    assert counted == full(planner_system) == at_first + 9


def test_a_row_written_twice_never_counts_less(
    copied: Cluster, planner_system: PlannerSystem
) -> None:
    """It counts twice, and where that goes beyond the limit everything is compared."""
    copied.run("UPDATE odd SET a = 0 WHERE id = 1", "planner")
    then = baseline(planner_system)
    copied.run("UPDATE odd SET a = -1 WHERE id = 1", "planner")
    assert lost_since(planner_system.database, "planner", COPY, then) == 2
    limit = RowsLost(live="planner", side=COPY, since=then, at_most=1, unit="rows")
    assert limit.measure(WORK) == 1
    wide = limit.model_copy(update={"at_most": 100})
    assert RowsLost.model_validate_json(wide.model_dump_json()).measure(WORK) == 2


@pytest.mark.parametrize("statement", ["DELETE FROM odd", "UPDATE odd SET a = 5"])
def test_a_copy_that_was_written_to_is_compared_whole(
    copied: Cluster, planner_system: PlannerSystem, statement: str
) -> None:
    """What the copy lost since is lost, though nothing of live is newer."""
    then = baseline(planner_system)
    copied.run(f"{statement} WHERE id <= 3", COPY)
    assert lost_since(planner_system.database, "planner", COPY, then) == full(planner_system) == 3


@pytest.mark.parametrize("where", ["planner", COPY])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE odd ADD COLUMN z int DEFAULT 5",
        "ALTER TYPE roletype RENAME VALUE 'ADMIN' TO 'ROOT'",
        "CREATE TABLE another (id int)",
        "TRUNCATE odd",
    ],
)
def test_another_schema_makes_a_baseline_void(
    copied: Cluster, planner_system: PlannerSystem, where: str, statement: str
) -> None:
    """A column, a label or a table may differ without any row that is newer."""
    then = baseline(planner_system)
    copied.run(statement, where)
    assert lost_since(planner_system.database, "planner", COPY, then) is None


def test_another_server_makes_a_baseline_void(
    copied: Cluster, planner_system: PlannerSystem
) -> None:
    """Restarted, restored from elsewhere, ahead of us, or a server that does not say."""
    then = baseline(planner_system)
    assert then.server
    copied.run("CREATE TEMP TABLE passing (id int); ANALYZE", "planner")
    for other in ({"server": "x"}, {"live_oid": 1}, {"side_oid": 1}, {"oldest": 2**40}):
        void = then.model_copy(update=other)
        assert lost_since(planner_system.database, "planner", COPY, void) is None
    copied.stop()
    copied.start()
    assert lost_since(planner_system.database, "planner", COPY, then) is None
