"""The role as which migrations are rehearsed, in a live database where everybody may create."""

from collections.abc import Iterator

import psycopg
import pytest

from tasks.database.copies.migration_role import powerless_role
from tests.postgres_fixtures import Cluster, PlannerSystem

ROLE, SIDE = "remedy_aaaabbbb22", "planner_role_side"


@pytest.fixture
def system(planner: Cluster, planner_system: PlannerSystem) -> Iterator[PlannerSystem]:
    """Give a target whose maintenance user may make roles."""
    planner.run(f"ALTER ROLE {planner_system.database.user} CREATEROLE")
    yield planner_system
    planner.run(f"ALTER ROLE {planner_system.database.user} NOCREATEROLE")


def test_it_makes_nothing_in_live(planner: Cluster, system: PlannerSystem) -> None:
    """What goes astray to live fails there; the copy is its own, and nothing of it is left."""
    planner.run("GRANT CREATE ON SCHEMA public TO PUBLIC", "planner")  # as before 15
    planner.run(f"CREATE DATABASE {SIDE} OWNER planner")
    create = b"CREATE TABLE public.mine (n int)"
    with powerless_role(system.database, SIDE, "planner", "planner", ROLE):
        with planner.connect(SIDE, ROLE) as session:
            session.execute(create)
        with (
            planner.connect("planner", ROLE) as session,
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        ):
            session.execute(create)
    assert planner.one("SELECT count(*) FROM pg_roles WHERE rolname = %s", "postgres", ROLE) == 0
    assert planner.one("SELECT count(*) FROM pg_db_role_setting WHERE setrole <> 0") == 0
