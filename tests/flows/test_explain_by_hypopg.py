"""Queries and indexes where these can be foretold: a real hypopg, on a server of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.help.undo_remediation import undo_remediation
from flows.performance.add_indexes import add_indexes
from flows.performance.explain_queries import explain_queries
from infra.sandbox.services import Sandbox
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.server_with_extension import sandbox_with
from tests.snapshots import snapshot


@pytest.fixture(scope="module")
def hypopg_system() -> Iterator[Sandbox]:
    """A sandbox whose server has hypopg, in a schema of its own, and two large tables."""
    with sandbox_with("hypopg") as system:
        with system.connect() as session:
            session.execute('CREATE SCHEMA "Odd hypo"')
            session.execute('GRANT USAGE ON SCHEMA "Odd hypo" TO PUBLIC')
            session.execute('CREATE EXTENSION hypopg SCHEMA "Odd hypo"')
            session.execute("SET ROLE planner")
            session.execute("CREATE TABLE lines (id int, odd_id int)")
            session.execute("INSERT INTO lines SELECT n, n FROM generate_series(1, 20000) n")
            session.execute("CREATE TABLE parents (id int PRIMARY KEY)")
            session.execute("INSERT INTO parents SELECT generate_series(1, 2000)")
            session.execute(
                "CREATE TABLE children (id int PRIMARY KEY, one_of_many int REFERENCES parents, "
                "always_one int REFERENCES parents)"
            )
            session.execute(
                "INSERT INTO children SELECT n, 1 + n % 2000, 1 FROM generate_series(1, 20000) n"
            )
            session.execute("ANALYZE lines, parents, children")
        yield system


@pytest.fixture
def foretold(hypopg_system: Sandbox, home: Path) -> Sandbox:
    """Give that sandbox as a target; remediations connect as a user that is no superuser."""
    assert home
    targets.give(SandboxTarget(**hypopg_system.target_settings(limited=True)))
    return hypopg_system


def test_an_index_is_foretold(runs: Runs, foretold: Sandbox) -> None:
    """The plan with it, its cost beside the present one; and nothing is built."""
    original = snapshot(foretold)
    query = "SELECT * FROM lines WHERE odd_id = $1"
    case, state = carry_out(
        runs, foretold, explain_queries, query=query, index="lines (odd_id, id)"
    )
    assert state.name == "Advised", state.message
    told = case.stages[0].stage.findings[-1]
    assert "With CREATE INDEX ON lines (odd_id, id) it would cost" in told.what
    assert "Index Scan using" in str(told.rows) or "Index Only Scan using" in str(told.rows)
    assert snapshot(foretold) == original


@pytest.mark.parametrize(
    ("index", "advised"),
    [
        ("lines (odd_id)", "CREATE INDEX CONCURRENTLY ON lines"),
        ("CREATE INDEX ix ON lines (odd_id)", "CREATE INDEX CONCURRENTLY ix ON lines"),
        (
            'create /* INDEX ON */ unique index if not exists "IX" on lines (odd_id)',
            'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "IX" ON lines',
        ),
        ("CREATE INDEX CONCURRENTLY ix ON lines (odd_id)", "CREATE INDEX CONCURRENTLY ix ON lines"),
    ],
)
def test_no_index_is_advised_that_holds_writes_up(
    runs: Runs, foretold: Sandbox, index: str, advised: str
) -> None:
    """However it was asked for, it is to be built concurrently."""
    query = "SELECT * FROM lines WHERE odd_id = $1"
    case, state = carry_out(runs, foretold, explain_queries, query=query, index=index)
    assert state.name == "Advised", state.message
    assert case.stages[0].stage.findings[-1].patch.startswith(advised)


def test_an_index_that_changes_nothing_is_said_to(runs: Runs, foretold: Sandbox) -> None:
    """Its columns are not what is looked for."""
    query = "SELECT * FROM lines WHERE odd_id = $1"
    case, state = carry_out(runs, foretold, explain_queries, query=query, index="lines (id)")
    assert state.name == "Unchanged", state.message
    assert "nothing would change" in case.stages[0].stage.findings[-1].what


def test_an_index_of_nothing_is_refused(runs: Runs, foretold: Sandbox) -> None:
    """A column that is not there."""
    query = "SELECT * FROM lines WHERE odd_id = $1"
    _, state = carry_out(runs, foretold, explain_queries, query=query, index="lines (nothing)")
    assert state.name == "Refused", state.message


def test_what_would_not_help_is_not_built(runs: Runs, foretold: Sandbox) -> None:
    """Of two foreign keys without index that one is made which tells rows apart."""
    original = snapshot(foretold)
    case, state = carry_out(runs, foretold, add_indexes, tables=["children"])
    assert state.name == "Remediated", state.message
    rows = {row[0]: row for row in case.stages[0].stage.findings[0].rows}
    assert "it would not help" in rows["public.children (always_one)"]
    assert " -> " in " ".join(rows["public.children (one_of_many)"])
    assert "it would not help" not in rows["public.children (one_of_many)"]
    with foretold.connect() as session:
        made = session.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'children' "
            "AND indexname <> 'children_pkey'"
        ).fetchall()
    assert [one.partition(" USING ")[2] for (one,) in made] == ["btree (one_of_many)"]
    _, ended = carry_out(runs, foretold, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert snapshot(foretold) == original
