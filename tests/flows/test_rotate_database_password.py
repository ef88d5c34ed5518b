"""The application's database password is rotated while users work."""

from pathlib import Path

import psycopg
import pytest
from prefect.client.schemas.objects import State

from flows.database.rotate_database_password import rotate_database_password
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.sandbox.settings import HOST
from infra.testbed.compose.system import ComposeSystem
from tasks.database.logins import end_logins
from tasks.database.logins.end_logins import EndLogins
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tests.approving import Approvers, carry_out
from tests.killing import killed, recovered
from tests.prefect_fixtures import Runs
from tests.users import log_of

ALTERNATE = "planner_alternate"


def rotate(runs: Runs, sandbox: Planner, **given: object) -> tuple[Case, State[object]]:
    """Rotate it while users work; none of their requests fails, however it ends."""
    load = Load(sandbox.url, sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        case, state = carry_out(runs, sandbox, rotate_database_password, **given)
    finally:
        seen = load.stop()
    assert (seen.failed, seen.missing) == (0, []), seen.answers
    return case, state


def log_in(sandbox: Sandbox, user: str, password: str) -> str:
    """Log in to the server; gives what it answers, '' where that went well."""
    port, database = sandbox.settings.ports["postgresql"], sandbox.settings.database
    try:
        psycopg.connect(host=HOST, port=port, dbname=database, user=user, password=password).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def query(sandbox: Planner, text: str) -> list[tuple[object, ...]]:
    """Ask the server as its superuser."""
    with sandbox.connect() as session:
        return session.execute(text).fetchall()


def roles(sandbox: Planner) -> list[tuple[object, ...]]:
    """Give the roles with all that is kept of them, their verifiers too."""
    return query(
        sandbox,
        "SELECT a::text, shobj_description(a.oid, 'pg_authid') FROM pg_authid a ORDER BY rolname",
    )


def users_of_application(sandbox: Planner) -> set[object]:
    """Give the roles as which programs other than remediations are logged in."""
    found = query(
        sandbox,
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() "
        # Neither autovacuum nor a session of ours that has just been closed.
        "AND application_name NOT LIKE 'remedy:%' AND usename <> current_user",
    )
    return {name for (name,) in found}


def test_it_is_rotated_and_back_with_no_request_failing(runs: Runs, sandbox: Sandbox) -> None:
    """The old password is refused, tables stay the owner's; the next rotation goes back."""
    old = sandbox.settings.application_password
    _, state = rotate(runs, sandbox)
    assert state.name == "Remediated", state.message
    new = targets.load("sandbox").application.settings()
    assert new["POSTGRES_USER"] == ALTERNATE
    assert "not permitted to log in" in log_in(sandbox, "planner", old)
    assert log_in(sandbox, ALTERNATE, new["POSTGRES_PASSWORD"]) == ""
    assert users_of_application(sandbox) == {ALTERNATE}
    with psycopg.connect(
        host=HOST,
        port=sandbox.settings.ports["postgresql"],
        dbname=sandbox.settings.database,
        user=ALTERNATE,
        password=new["POSTGRES_PASSWORD"],
    ) as session:
        session.execute("CREATE TABLE made_after (x int)")
    assert query(sandbox, "SELECT tableowner FROM pg_tables WHERE tablename = 'made_after'") == [
        ("planner",)
    ]

    closed = roles(sandbox)
    case, state = rotate(runs, sandbox)
    assert state.name == "Remediated", state.message
    newest = targets.load("sandbox").application.settings()
    assert newest["POSTGRES_USER"] == "planner"
    assert newest["POSTGRES_PASSWORD"] not in {old, new["POSTGRES_PASSWORD"]}
    assert users_of_application(sandbox) == {"planner"}
    assert log_in(sandbox, "planner", old)
    assert log_in(sandbox, ALTERNATE, new["POSTGRES_PASSWORD"])

    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert roles(sandbox) == closed
    assert targets.load("sandbox").application.settings() == new


def test_an_undo_brings_everything_back(runs: Runs, planner: Planner) -> None:
    """Roles with their verifiers, the file byte for byte, no secret left; nobody notices."""
    before, file = roles(planner), planner.dotenv.read_bytes()
    case, state = rotate(runs, planner)
    assert state.name == "Remediated", state.message
    load = Load(planner.url, planner.settings.accounts[USER], rate=10)
    load.start()
    try:
        _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    finally:
        seen = load.stop()
    assert ended.name == "Remediated", ended.message
    assert (seen.failed, seen.missing) == (0, []), seen.answers
    assert (roles(planner), planner.dotenv.read_bytes()) == (before, file)
    assert users_of_application(planner) == {"planner"}
    assert list(planner.secrets.iterdir()) == []


def test_no_password_is_seen_anywhere(runs: Runs, planner: Planner) -> None:
    """Not in the server's log, even if that has every statement, nor in its statistics.

    A server with MD5, as 13 has it by default, gets no MD5 either: who reads it can log in by it.
    """
    with planner.connect() as session:
        session.execute("ALTER SYSTEM SET log_statement = 'all'")
        session.execute("ALTER SYSTEM SET password_encryption = 'md5'")
        session.execute("SELECT pg_reload_conf()")
    try:
        case, state = rotate(runs, planner)
    finally:
        with planner.connect() as session:
            session.execute("ALTER SYSTEM RESET log_statement")
            session.execute("ALTER SYSTEM RESET password_encryption")
            session.execute("SELECT pg_reload_conf()")
    assert state.name == "Remediated", state.message
    verifiers = query(planner, "SELECT rolpassword FROM pg_authid WHERE rolname ~ '^planner'")
    assert "md5" not in str(verifiers)
    password = targets.load(planner.settings.name).application.settings()["POSTGRES_PASSWORD"]
    log = log_of(planner)
    assert "ALTER ROLE" in log or "CREATE ROLE" in log
    statistics = str(query(planner, "SELECT query FROM pg_stat_statements"))
    entries = "".join(str(entry) for entry in case.entries)
    for text in (log, statistics, entries, state.message or ""):
        assert password not in text
        assert planner.settings.application_password not in text


def test_with_somebody_else_on_the_old_login_it_is_undone(runs: Runs, sandbox: Sandbox) -> None:
    """A report program would be shut out: it is named, and everything is as before."""
    odd = "it's"  # in quotes of its own in the file, which the undo has to bring back
    with sandbox.connect() as session:
        session.execute("ALTER ROLE planner PASSWORD 'it''s'")
    text = sandbox.dotenv.read_text()
    sandbox.dotenv.write_text(text.replace(sandbox.settings.application_password, f'"{odd}"'))
    for name in sandbox.upstreams:
        sandbox.restart(name)
    before, file = roles(sandbox), sandbox.dotenv.read_bytes()
    with psycopg.connect(
        host=HOST,
        port=sandbox.settings.ports["postgresql"],
        dbname=sandbox.settings.database,
        user="planner",
        password=odd,
        application_name="monthly report",
    ) as report:
        case, state = rotate(runs, sandbox)
        assert report.execute("SELECT 1").fetchone() == (1,)
    assert state.name == "Undone", state.message
    assert "monthly report" in str([one.rows for one in case.stages[0].stage.findings])
    assert "monthly report" in case.of_kind("failed")[0].facts["found"]
    assert (roles(sandbox), sandbox.dotenv.read_bytes()) == (before, file)
    assert users_of_application(sandbox) == {"planner"}
    assert list(sandbox.secrets.iterdir()) == []


def test_rights_that_somebody_takes_meanwhile_are_not_given_on(
    runs: Runs, sandbox: Sandbox
) -> None:
    """The second role would get what the first one had when the rotation was planned."""
    with sandbox.connect("postgres") as session:
        session.execute("ALTER ROLE planner CREATEDB")
    run, state = runs.start(rotate_database_password, target=sandbox.settings.name)
    assert state is None
    with sandbox.connect("postgres") as session:
        session.execute("ALTER ROLE planner NOCREATEDB")
    before, file = roles(sandbox), sandbox.dotenv.read_bytes()
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Undone", state.message
    assert "what planner has was changed since" in str(state.message)
    assert (roles(sandbox), sandbox.dotenv.read_bytes()) == (before, file)
    assert list(sandbox.secrets.iterdir()) == []


def test_one_that_was_planned_before_another_was_done_touches_nothing(
    runs: Runs, sandbox: Sandbox
) -> None:
    """The role that it would open is the one that the application logs in with by now."""
    late, ended = runs.start(rotate_database_password, target=sandbox.settings.name)
    assert ended is None
    _, state = rotate(runs, sandbox)
    assert state.name == "Remediated", state.message
    now, file = roles(sandbox), sandbox.dotenv.read_bytes()
    state = Approvers(Ledger()).approve_until_it_ends(runs, late)
    assert state.name == "Refused", state.message
    assert (roles(sandbox), sandbox.dotenv.read_bytes()) == (now, file)
    assert len(list(sandbox.secrets.iterdir())) == 2  # those of the one that was done


def test_who_came_in_as_it_was_closed_is_seen_after_a_kill(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that is closed and still in use is not done with; it is opened again for them."""
    monkeypatch.setattr(end_logins, "_LEAVE_WITHIN_SECONDS", 0.5)
    with sandbox.connect() as session:
        session.execute("CREATE ROLE leaving LOGIN PASSWORD 'leaving'")
    change = EndLogins(role="leaving", before="none", variable="POSTGRES_PASSWORD")
    work = Work(target="sandbox", remediation="k3f9q2")
    port = sandbox.settings.ports["postgresql"]
    inside = f"host={HOST} port={port} dbname=postgres user=leaving password=leaving"
    with sandbox.connect() as session, psycopg.connect(inside):
        session.execute("ALTER ROLE leaving NOLOGIN")  # and killed with -9
        assert change.observe(work).standing is Standing.HALF
        with pytest.raises(PreconditionFailed, match="not the application's"):
            change.apply(work)
        assert change.observe(work).standing is Standing.BEFORE
    change.apply(work)
    assert change.observe(work).standing is Standing.AFTER


def test_killed_as_the_old_login_is_closed_it_goes_on(
    runs: Runs, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Between the closing and the second look: recovery looks again, and nobody was on it."""
    fault = f"KILL={EndLogins.kind}:closed"
    case = killed(runs, rotate_database_password, sandbox.target_settings(), tmp_path, fault)
    assert "not permitted to log in" in log_in(
        sandbox, "planner", sandbox.settings.application_password
    )
    state = recovered(runs, case)
    assert state.name == "Remediated", state.message
    assert users_of_application(sandbox) == {ALTERNATE}


def kill_one(system: Planner) -> None:
    """End one of the application's processes: a container, where these are such."""
    if isinstance(system, ComposeSystem):
        system.project.container("app").kill()
    else:
        assert isinstance(system, Sandbox)
        system.kill("application-2")


def test_an_undo_starts_what_does_not_run(runs: Runs, planner: Planner) -> None:
    """With a process down it is not taken for undone already: its login would go."""
    before, file = roles(planner), planner.dotenv.read_bytes()
    case, state = carry_out(runs, planner, rotate_database_password)
    assert state.name == "Remediated", state.message
    kill_one(planner)
    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert (roles(planner), planner.dotenv.read_bytes()) == (before, file)
    assert all(one.serves for one in targets.load(planner.settings.name).application.replicas())
    assert users_of_application(planner) == {"planner"}


def test_a_second_role_that_the_server_keeps_out_is_undone(runs: Runs, sandbox: Sandbox) -> None:
    """pg_hba.conf lets only the first one in: found before anything of the application moves."""
    rules = sandbox.cluster.data / "pg_hba.conf"
    original = rules.read_text()
    before, file = roles(sandbox), sandbox.dotenv.read_bytes()
    rules.write_text(f"host all {ALTERNATE} 127.0.0.1/32 reject\n{original}")
    query(sandbox, "SELECT pg_reload_conf()")
    try:
        case, state = rotate(runs, sandbox)
    finally:
        rules.write_text(original)
        query(sandbox, "SELECT pg_reload_conf()")
    assert state.name == "Undone", state.message
    assert "pg_hba.conf" in case.of_kind("failed")[0].facts["todo"]
    assert (roles(sandbox), sandbox.dotenv.read_bytes()) == (before, file)


def test_settings_of_the_first_role_go_with_it(runs: Runs, sandbox: Sandbox) -> None:
    """Lists, numbers, and those for one database only; its limit of sessions too."""
    name = sandbox.settings.database
    with sandbox.connect() as session:
        session.execute('ALTER ROLE planner SET search_path = "$user", public')
        session.execute(f"ALTER ROLE planner IN DATABASE {name} SET work_mem = '7MB'")
        session.execute("ALTER ROLE planner CONNECTION LIMIT 50 CREATEDB")
    try:
        _, state = rotate(runs, sandbox)
        assert state.name == "Remediated", state.message
        settings = targets.load("sandbox").application.settings()
        with psycopg.connect(
            host=HOST,
            port=sandbox.settings.ports["postgresql"],
            dbname=name,
            user=ALTERNATE,
            password=settings["POSTGRES_PASSWORD"],
        ) as session:
            shown = session.execute(
                "SELECT current_setting('search_path'), current_setting('work_mem'), current_user"
            ).fetchone()
        assert shown == ('"$user", public', "7MB", "planner")
        assert query(
            sandbox,
            f"SELECT rolconnlimit, rolcreatedb FROM pg_roles WHERE rolname = '{ALTERNATE}'",
        ) == [(50, True)]
    finally:
        with sandbox.connect() as session:
            session.execute("ALTER ROLE planner RESET ALL")
            session.execute("ALTER ROLE planner CONNECTION LIMIT -1 NOCREATEDB")


@pytest.mark.parametrize("logs_in", [True, False])
def test_a_strange_role_of_that_name_is_left_alone(
    runs: Runs, sandbox: Sandbox, logs_in: bool
) -> None:
    """Nothing is begun."""
    with sandbox.connect() as session:
        session.execute(f"CREATE ROLE {ALTERNATE} {'LOGIN' if logs_in else 'NOLOGIN'}")
    case, state = rotate(runs, sandbox)
    assert state.name == "Refused", state.message
    assert "none of ours" in (state.message or "")
    assert not case.of_kind("begun")


def test_with_one_process_it_is_not_begun(runs: Runs, sandbox: Sandbox) -> None:
    """Users would meet an outage."""
    sandbox.kill("application-2")
    case, state = carry_out(runs, sandbox, rotate_database_password)
    assert state.name == "Refused", state.message
    assert "application-2" in (state.message or "")
    assert not case.of_kind("begun")


def test_of_the_maintenance_user_it_is_not_begun(runs: Runs, sandbox: Sandbox) -> None:
    """Ending that one's log-ins would shut remediations out; the guide's `postgres` is both."""
    superuser = sandbox.settings.superuser
    text = sandbox.dotenv.read_text().replace("POSTGRES_USER=planner", f"POSTGRES_USER={superuser}")
    text = text.replace(sandbox.settings.application_password, sandbox.settings.superuser_password)
    sandbox.dotenv.write_text(text)
    for name in sandbox.upstreams:
        sandbox.restart(name)
    case, state = carry_out(runs, sandbox, rotate_database_password)
    assert state.name == "Refused", state.message
    assert "maintenance user" in (state.message or "")
    assert not case.of_kind("begun")


def test_an_application_that_is_a_superuser_is_reported(runs: Runs, sandbox: Sandbox) -> None:
    """The plan says what that means; nothing is changed by a look."""
    with sandbox.connect() as session:
        session.execute("ALTER ROLE planner SUPERUSER")
    before = roles(sandbox)
    case, state = carry_out(runs, sandbox, rotate_database_password, dry_run=True)
    assert state.name == "Planned", state.message
    told = " ".join(one.what for one in case.stages[0].stage.findings)
    assert "That is a superuser" in told
    assert roles(sandbox) == before
