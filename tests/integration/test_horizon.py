"""Who keeps dead rows, on a real server: sessions, slots, prepared transactions."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks.database.vacuum.horizon import find_horizon_holders
from tests.postgres_fixtures import Cluster


@pytest.fixture
def rows(planner: Cluster) -> Cluster:
    """A table with rows, and nobody who tidies up behind them."""
    planner.run(
        "CREATE TABLE dying WITH (autovacuum_enabled = false) AS "
        "SELECT n FROM generate_series(1, 1000) n",
        "planner",
    )
    return planner


def stay(cluster: Cluster) -> bool:
    """Kill all rows, vacuum them, and say whether they are there still."""
    cluster.run("DELETE FROM dying", "planner")
    cluster.run("VACUUM dying", "planner")
    return bool(cluster.one("SELECT pg_relation_size('dying')", "planner"))


def holders(cluster: Cluster, user: str = "planner_admin") -> dict[str, str]:
    """Give who keeps which rows, as a user is told."""
    with cluster.connect("planner", user) as session:
        return {one.who: one.what for one in find_horizon_holders(session)}


@contextmanager
def held(cluster: Cluster) -> Iterator[str]:
    """Have somebody hold a snapshot; gives the session's beginning."""
    with cluster.connect("planner", "planner") as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT 1")
        yield f"session {session.info.backend_pid} of planner"
        session.rollback()


@pytest.mark.parametrize("user", ["planner_admin", "reporter"])
def test_a_session_is_named_whoever_looks(rows: Cluster, user: str) -> None:
    """Who may not see what it does names it as well, and says which right is missing."""
    with held(rows) as session:
        assert stay(rows)
        (told,) = holders(rows, user).items()
        assert told[0].startswith(session)
        assert ("cannot be seen without pg_read_all_stats" in told[0]) is (user == "reporter")
        assert told[1] == "rows"
    assert holders(rows, user) == {}


def test_a_logical_slot_keeps_catalogue_rows_only(rows: Cluster) -> None:
    """It is named for these, and dead rows of a table are gone all the same."""
    rows.run("SELECT pg_create_logical_replication_slot('forgotten', 'test_decoding')", "planner")
    try:
        (told,) = holders(rows).items()
        assert not stay(rows)
    finally:
        rows.run("SELECT pg_drop_replication_slot('forgotten')", "planner")
    assert told == (
        "replication slot forgotten",
        "rows of the system catalogues, and of no other table,",
    )


def test_a_prepared_transaction_is_named(rows: Cluster) -> None:
    """Nobody is connected, and it keeps rows for as long as nobody ends it."""
    with rows.connect("planner", "planner") as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO notes_without_key VALUES ('x')")
        session.execute("PREPARE TRANSACTION 'forgotten'")
    try:
        told = holders(rows)
        assert stay(rows)
    finally:
        rows.run("ROLLBACK PREPARED 'forgotten'", "planner")
    assert told == {"prepared transaction forgotten of planner": "rows"}
