"""An application without a database: made where there is certainly no data, refused elsewhere."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from docker.models.volumes import Volume
from psycopg import sql

from flows.database.initialise_database import initialise_database
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.migrations import BEFORE_HEAD, HEAD, migrate
from infra.sandbox.planner import Planner
from infra.sandbox.service_user import hand_over
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.database.server.first_database import MigrateFirstTime
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Risk, Standing, Work
from tasks.guardrails.undo_change import UndoChange
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import Approvers, carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import log_in


@pytest.fixture
def away(planner: Planner) -> Iterator[Path]:
    """Where a server's data was, which is under another name and put back afterwards."""
    data, kept = planner.cluster.data, planner.cluster.data.with_name("postgresql-kept")
    planner.cluster.stop()
    data.rename(kept)
    if isinstance(planner, ComposeSystem):
        data.mkdir(mode=0o700)  # a volume stays where it is
    yield data
    planner.cluster.stop()
    for path in data.parent.glob(f"{data.name}*"):
        if path != kept:
            shutil.rmtree(path)
    for _, volume in volumes(planner):
        volume.remove()
    kept.rename(data)


def volumes(planner: Planner) -> list[tuple[str, Volume]]:
    """List the volumes that remediations of a project have made, by their names within it."""
    if not isinstance(planner, ComposeSystem):
        return []
    beginning = f"{planner.project.name}-"
    with closing(planner.project.engine.client()) as client:
        found = client.volumes.list(filters={"label": "remedy.kept-of"})
    return [(one.name.removeprefix(beginning), one) for one in found if beginning in one.name]


def set_aside(planner: Planner, remediation: str, what: str) -> list[Path]:
    """Find what a remediation has set aside of a server's data, by how its name ends."""
    if isinstance(planner, ComposeSystem):
        beginning = f"data.remedy-{remediation}-{what}"
        found = [one for name, one in volumes(planner) if name.startswith(beginning)]
        return [Path(one.attrs["Mountpoint"]) / "whole" for one in found]
    data = planner.cluster.data
    return [*data.parent.glob(f"{data.name}.remedy-{remediation}-{what}*")]


def answer_to_log_in(planner: Planner) -> tuple[int, str]:
    """Log in as a user does; gives status and answer."""
    answer = log_in(planner)
    return answer.status_code, answer.text


NOBODY_YET = (401, '{"detail":"Incorrect username or password"}')


def revision(planner: Planner) -> str:
    """Read the schema's revision."""
    with planner.connect() as session:
        row = session.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def databases(planner: Planner) -> set[str]:
    """List the databases."""
    with planner.connect("postgres") as session:
        return {str(name) for (name,) in session.execute("SELECT datname FROM pg_database")}


def drop_database(planner: Planner) -> None:
    """Have no database for the application."""
    with planner.connect("postgres") as session:
        name = sql.Identifier(planner.settings.database)
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def empty(planner: Planner) -> None:
    """Delete every row."""
    with planner.connect() as session:
        tables = session.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchone()
        assert tables
        session.execute(f"TRUNCATE {tables[0]} CASCADE")
        session.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def contents(folder: Path) -> dict[str, str]:
    """Give a checksum of each file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def half_made(data: Path) -> dict[str, str]:
    """Leave what an initdb leaves that was cut off; gives its contents."""
    (data / "base" / "1").mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    (data / "base" / "1" / "1259").write_bytes(b"catalogue")
    hand_over(data)
    data.chmod(0o700)
    return contents(data)


def test_a_database_with_rows_is_refused(runs: Runs, sandbox: Sandbox) -> None:
    """And a restore is pointed to; nothing is touched."""
    before = snapshot(sandbox)
    _, state = carry_out(runs, sandbox, initialise_database)
    assert state.name == "Refused", state.message
    assert "restore_from_backup" in str(state.message)
    assert snapshot(sandbox) == before


def test_one_row_alone_is_enough_to_refuse(runs: Runs, sandbox: Sandbox) -> None:
    """In a table that the application does not know, in another schema."""
    drop_database(sandbox)
    sandbox.cluster.prepare()
    with sandbox.connect() as session:
        session.execute('CREATE SCHEMA "my own"')
        session.execute('CREATE TABLE "my own"."some ""thing" AS SELECT 1 AS n')
    _, state = carry_out(runs, sandbox, initialise_database)
    assert state.name == "Refused", state.message
    assert 'my own.some "thing' in str(state.message)


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_missing_database_is_made_and_migrated(runs: Runs, planner: Planner) -> None:
    """The application answers; an undo takes it away again."""
    drop_database(planner)
    assert log_in(planner).status_code == 503
    case, state = carry_out(runs, planner, initialise_database)
    assert state.name == "Remediated", state.message
    assert revision(planner) == HEAD
    assert answer_to_log_in(planner) == NOBODY_YET

    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert planner.settings.database not in databases(planner)


def test_rows_that_came_since_the_plan_stop_it(runs: Runs, sandbox: Sandbox) -> None:
    """Somebody restores while the approver thinks: nothing of that is touched."""
    empty(sandbox)
    migrate(sandbox, BEFORE_HEAD)
    run, state = runs.start(initialise_database, target=sandbox.settings.name)
    assert state is None
    with sandbox.connect() as session:
        session.execute("CREATE TABLE restored AS SELECT 1 AS n")
    before = snapshot(sandbox)
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name in {"Refused", "Undone"}, state.message
    assert "restored" in str(state.message)
    assert snapshot(sandbox) == before
    assert revision(sandbox) == BEFORE_HEAD


def test_a_database_that_somebody_else_migrates_is_left_alone(sandbox: Sandbox) -> None:
    """At a third revision it is another's, and may have rows; cut off on our way it is ours."""
    empty(sandbox)
    migrate(sandbox, BEFORE_HEAD)
    change = MigrateFirstTime(database="planner", before="", after=HEAD)
    work = Work(target=sandbox.settings.name, remediation="aaaabbbb22")
    assert change.observe(work).standing is Standing.OTHER
    begun = replace(work, begun_at=datetime.now(UTC))
    assert change.observe(begun).standing is Standing.BEFORE
    undo = UndoChange(original=change, original_remediation="aaaabbbb22")
    assert undo.observe(work).standing is Standing.AFTER  # nothing of ours stands any more
    planned = change.model_copy(update={"before": BEFORE_HEAD})
    assert planned.observe(work).standing is Standing.BEFORE


def test_a_half_migrated_empty_database_is_brought_to_the_end(runs: Runs, sandbox: Sandbox) -> None:
    """And then there is nothing left to do."""
    empty(sandbox)
    migrate(sandbox, BEFORE_HEAD)
    _, state = carry_out(runs, sandbox, initialise_database)
    assert state.name == "Remediated", state.message
    assert revision(sandbox) == HEAD
    _, state = carry_out(runs, sandbox, initialise_database)
    assert state.name == "Unchanged", state.message


def test_a_stopped_server_with_data_is_refused(runs: Runs, planner: Planner) -> None:
    """It is started, not made anew."""
    data = planner.cluster.data
    planner.cluster.stop()
    before = contents(data)
    _, state = carry_out(runs, planner, initialise_database)
    assert state.name == "Refused", state.message
    assert "start_database" in str(state.message)
    assert contents(data) == before


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_server_is_made_where_there_is_none(runs: Runs, planner: Planner, away: Path) -> None:
    """At the highest risk; it serves the application, and an undo keeps what was made aside."""
    case, state = carry_out(runs, planner, initialise_database)
    assert state.name == "Remediated", state.message
    assert case.stages[0].stage.risk is Risk.DESTRUCTIVE
    assert revision(planner) == HEAD
    assert answer_to_log_in(planner) == NOBODY_YET

    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert not away.exists() or not [*away.iterdir()]
    assert not planner.cluster.runs
    (made,) = set_aside(planner, case.id, "made-")
    assert (made / "PG_VERSION").exists()


def test_a_half_made_folder_is_set_aside_and_put_back(
    runs: Runs, planner: Planner, away: Path
) -> None:
    """Byte for byte."""
    before = half_made(away)
    case, state = carry_out(runs, planner, initialise_database)
    assert state.name == "Remediated", state.message
    assert answer_to_log_in(planner) == NOBODY_YET
    (aside,) = set_aside(planner, case.id, "half-made")
    assert contents(aside) == before

    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert contents(away) == before
    assert not set_aside(planner, case.id, "half-made")


def test_a_folder_with_something_else_in_it_is_refused(
    runs: Runs, planner: Planner, away: Path
) -> None:
    """It may be one level above the data, or hold a backup."""
    half_made(away)
    (away / "base.tar").write_bytes(b"rows")
    before = contents(away)
    _, state = carry_out(runs, planner, initialise_database)
    assert state.name == "Refused", state.message
    assert "holds something" in str(state.message)
    assert contents(away) == before


def test_a_database_that_a_remediation_keeps_is_no_missing_one(
    runs: Runs, sandbox: Sandbox
) -> None:
    """It was only renamed: there is data."""
    with sandbox.connect("postgres") as session:
        name = sql.Identifier(sandbox.settings.database)
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [sandbox.settings.database],
        )
        session.execute(sql.SQL("ALTER DATABASE {} RENAME TO planner_aside").format(name))
        session.execute("COMMENT ON DATABASE planner_aside IS 'remedy abcdefghij kept: by a swap'")
    _, state = carry_out(runs, sandbox, initialise_database)
    assert state.name == "Refused", state.message
    assert "planner_aside" in str(state.message)


def test_rows_that_came_since_are_kept_by_an_undo(runs: Runs, sandbox: Sandbox) -> None:
    """The question says how many there are; whoever approves loses none of them."""
    drop_database(sandbox)
    case, state = carry_out(runs, sandbox, initialise_database)
    assert state.name == "Remediated", state.message
    with sandbox.connect() as session:
        session.execute("CREATE TABLE written AS SELECT 1 AS n")
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    (aside,) = [name for name in databases(sandbox) if name.endswith(f"_undone_{case.id}")]
    assert sandbox.settings.database not in databases(sandbox)
    with sandbox.connect("postgres") as session:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true")
        session.execute(allow.format(sql.Identifier(aside)))
    with sandbox.connect(aside) as session:
        assert session.execute("SELECT n FROM written").fetchall() == [(1,)]


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_backups_of_data_that_is_gone_are_told(runs: Runs, planner: Planner, away: Path) -> None:
    """Where there was data once, its disk may only not be mounted."""
    (planner.backups / "backup-20260101-020000.sql").write_text("-- a backup\n")
    run, state = runs.start(initialise_database, target=planner.settings.name)
    assert state is None
    case = Case.read(Ledger(), runs.id_of(run))
    assert any("there was data once" in one.what for one in case.stages[0].stage.findings)
    assert not away.exists()


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_a_new_server_has_the_role_that_the_target_names(planner: Planner, away: Path) -> None:
    """No superuser, as on a managed server: it reads, makes databases, and owns nothing."""
    target = ComposeTarget(**planner.target_settings(limited=True))
    target.server.initialise()
    with target.database.connect() as session:
        row = session.execute(
            "SELECT current_user AS name, usesuper AS super, usecreatedb AS creates FROM pg_user"
            " WHERE usename = current_user"
        ).fetchone()
    assert row == {"name": planner.settings.maintenance_user, "super": False, "creates": True}
    settings = target.application.settings()
    user, password = settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]
    with target.database.log_in(user, password) as session:
        session.execute("CREATE TABLE mine (n int)")
    assert (away / "PG_VERSION").exists()


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_what_is_moved_out_of_a_volume_and_back_is_taken_up_where_it_was_cut_off(
    planner: Planner, away: Path
) -> None:
    """Nothing is taken away that was not copied whole; what was begun is ended, both ways."""
    assert isinstance(planner, ComposeSystem)
    server, before = ComposeTarget(**planner.target_settings()).server, half_made(away)
    server.set_folder_aside("data.remedy-cut-half-made")
    (kept,) = set_aside(planner, "cut", "half-made")
    assert (contents(kept), [*away.iterdir()]) == (before, [])
    kept.rename(kept.with_name("part"))  # it died before all of it was there
    (kept.with_name("part") / "PG_VERSION").unlink()
    assert half_made(away) == before
    server.set_folder_aside("data.remedy-cut-half-made")
    assert (contents(kept), [*away.iterdir()]) == (before, [])
    (away / "PG_VERSION").write_text("15\n")  # it died before it had taken all away
    server.set_folder_aside("data.remedy-cut-half-made")
    assert (contents(kept), [*away.iterdir()]) == (before, [])

    (away / "mine").write_text("rows")
    with pytest.raises(PreconditionFailed, match="something that is there by now"):
        server.put_folder_back("data.remedy-cut-half-made")
    assert (contents(kept), [one.name for one in away.iterdir()]) == (before, ["mine"])
    (away / "mine").unlink()
    (kept.with_name("back")).touch()  # it died while it put it back
    (away / "PG_VERSION").write_text("1")
    server.put_folder_back("data.remedy-cut-half-made")
    assert contents(away) == before
    assert not set_aside(planner, "cut", "half-made")
