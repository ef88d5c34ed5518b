"""The PostgreSQL capability on a real server."""

import contextlib
import time
from pathlib import Path

import pytest

from tasks.guardrails.errors import LeaseLost, PreconditionFailed, RemediationError, Transient
from tasks.guardrails.systems import pin
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.postgresql_programs import CLIENT_PROGRAMS, find_programs
from tests.fences import Held
from tests.postgres_fixtures import Cluster, PlannerSystem


def test_sessions_carry_the_fencing_token(planner_system: PlannerSystem) -> None:
    """A session is named after target and token, and notices a dead client."""
    with pin(planner_system, Held(7)), planner_system.database.connect() as session:
        row = session.execute(
            "SELECT current_setting('application_name') AS name, "
            "current_setting('client_connection_check_interval', true) AS interval"
        ).fetchone()
        knows = session.info.server_version >= 140000
    assert row == {"name": "remedy:planner-test:7", "interval": "1s" if knows else None}
    assert planner_system.database.environment()["PGAPPNAME"] == "remedy:planner-test:0"


def test_no_session_is_opened_under_a_lease_that_ran_out(
    planner_system: PlannerSystem, planner: Cluster
) -> None:
    """A process that was stopped and goes on finds its lease gone where it opens a session."""
    with pin(planner_system, Held(4, lost=True)), pytest.raises(LeaseLost):
        planner_system.database.connect()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    deadline = time.monotonic() + 60
    while planner.one(count, "postgres", "remedy:planner-test:4") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert planner.one(count, "postgres", "remedy:planner-test:4") == 0


def test_settings_hold_for_the_session(planner_system: PlannerSystem) -> None:
    """Settings given to connect outlive a rollback."""
    with planner_system.database.connect(autocommit=False, lock_timeout="300ms") as session:
        session.rollback()
        row = session.execute("SELECT current_setting('lock_timeout') AS value").fetchone()
    assert row == {"value": "300ms"}


def test_no_session_waits_for_a_lock_for_ever(
    planner_system: PlannerSystem, planner: Cluster
) -> None:
    """Somebody's hanging REINDEX would hang whoever asks how large things are."""
    with planner.connect("planner") as somebody, somebody.transaction():
        somebody.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        with (
            planner_system.database.connect() as session,
            pytest.raises(Transient, match="lock timeout"),
        ):
            session.execute("SELECT pg_relation_size('projects')")


def test_older_sessions_end_and_newer_stay(planner_system: PlannerSystem, planner: Cluster) -> None:
    """end_older ends what carries a lower token and waits until it is gone."""
    database = planner_system.database
    with pin(planner_system, Held(3)):
        old = database.connect()
    with pin(planner_system, Held(9)):
        new = database.connect()
    said = database.end_older(9)
    assert len(said) == 1
    assert "remedy:planner-test:3" in said[0]
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    assert planner.one(count, "postgres", "remedy:planner-test:3") == 0
    assert planner.one(count, "postgres", "remedy:planner-test:9") == 1
    new.close()
    with pytest.raises(Transient):
        old.execute("SELECT 1")


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT * FROM nowhere", PreconditionFailed, "42P01"),
        ("CREATE ROLE x", PreconditionFailed, "42501"),
        ("SET statement_timeout = 10; SELECT pg_sleep(2)", Transient, "57014"),
    ],
)
def test_errors_are_ours(
    planner_system: PlannerSystem, statement: str, kind: type[RemediationError], code: str
) -> None:
    """What the server refuses becomes an error with four parts and the server's words."""
    with (
        pytest.raises(kind) as raised,
        planner_system.database.connect() as session,
    ):
        session.execute(statement.encode())
    assert sqlstate(raised.value) == code
    assert code in raised.value.found


def test_an_unreachable_server_may_come_back(planner_system: PlannerSystem) -> None:
    """No answer is transient; a wrong database is not."""
    nobody = PostgreSQL("planner-test", "127.0.0.1", 1, "planner", "planner_admin", "")
    with pytest.raises(Transient, match=r"on 127\.0\.0\.1:1"):
        nobody.connect()
    with pytest.raises(PreconditionFailed, match='database "absent" does not exist'):
        planner_system.database.connect("absent")


def test_programs_fit_the_server(planner_system: PlannerSystem, tmp_path: Path) -> None:
    """Programs are found, also by the environment; a missing one is named."""
    assert planner_system.database.program("pg_dump").is_file()
    with pytest.raises(PreconditionFailed, match="pg_nothing"):
        planner_system.database.program("pg_nothing")
    with pytest.raises(PreconditionFailed, match="of version 99 or newer"):
        find_programs(99)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(PreconditionFailed):
        patch.setenv("REMEDY_POSTGRES_PROGRAMS", str(find_programs()))
        assert find_programs() == find_programs()
    assert planner_system.database.free_bytes()
    assert tmp_path.exists()


def test_client_programs_alone_suffice_for_a_client(planner: Cluster, tmp_path: Path) -> None:
    """A worker without a server's programs dumps and restores; a server is not made by them."""
    for name in CLIENT_PROGRAMS:
        (tmp_path / name).symlink_to(planner.programs / name)
    database = PostgreSQL("t", "127.0.0.1", planner.port, "planner", "planner_admin", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMEDY_POSTGRES_PROGRAMS", str(tmp_path))
        assert database.program("pg_restore") == tmp_path / "pg_restore"
        patch.setenv("PATH", "")
        with contextlib.suppress(PreconditionFailed):
            assert find_programs() != tmp_path


def test_no_password_is_shown() -> None:
    """Neither repr nor the environment of another user carries the password."""
    database = PostgreSQL("t", "h", 1, "planner", "admin", "geheim")
    assert "geheim" not in repr(database)
    assert "PGPASSWORD" not in database.environment(user="other")
    assert database.environment()["PGPASSWORD"] == "geheim"
