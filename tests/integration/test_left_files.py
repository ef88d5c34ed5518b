"""Files without an owner, in every place where a database may have its files."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.database.integrity.left_files import find_left_files
from tests.postgres_fixtures import NOBODY, Cluster, PlannerSystem


@pytest.fixture
def tablespace(planner: Cluster) -> Iterator[Path]:
    """A tablespace, with a table of the database in it."""
    folder = planner.folder / "elsewhere"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    planner.run(f"CREATE TABLESPACE elsewhere LOCATION '{folder}'")
    planner.run("CREATE TABLE far TABLESPACE elsewhere AS SELECT 1 AS one", "planner")
    yield folder
    planner.run("DROP TABLE far", "planner")
    planner.run("CHECKPOINT")
    for left in folder.rglob("999999"):
        left.unlink()
    planner.run("DROP TABLESPACE elsewhere")


def test_they_are_found_in_other_tablespaces_too(planner: Cluster, tablespace: Path) -> None:
    """The table's own file is not taken for one."""
    table = planner.one("SELECT pg_relation_filepath('far')", "planner")
    left = (planner.data / table).with_name("999999")
    left.write_bytes(b"x" * 8192)
    past = time.time() - 3600
    os.utime(left, (past, past))
    with planner.connect("planner") as session:
        found, unseen = find_left_files(session)
    assert unseen is None
    assert [one.path for one in found] == [str(Path(table).with_name("999999"))]
    assert left.resolve().is_relative_to(tablespace)


def test_with_a_prepared_transaction_they_cannot_be_told(planner: Cluster) -> None:
    """Its new files are nobody else's to see; that is said, with what to do."""
    planner.run("BEGIN; CREATE TABLE coming (id int); PREPARE TRANSACTION 'coming'", "planner")
    try:
        with planner.connect("planner") as session:
            found, unseen = find_left_files(session)
    finally:
        planner.run("ROLLBACK PREPARED 'coming'", "planner")
    assert found == []
    assert unseen is not None
    assert "1 prepared transaction" in unseen.found


def test_what_may_not_be_listed_is_told_with_the_grant(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """What it says to run is enough."""
    with planner_system.database.connect() as session:
        _, unseen = find_left_files(session)
    assert unseen is not None
    planner.run("".join(unseen.todo.splitlines(keepends=True)[1:]), "planner")
    with planner_system.database.connect() as session:
        assert find_left_files(session) == ([], None)
