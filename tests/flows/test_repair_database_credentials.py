"""The application cannot log in to its database, in all the ways in which that comes about."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest

from flows.database.repair_database_credentials import repair_database_credentials
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tests.approving import Approvers, carry_out
from tests.prefect_fixtures import Runs
from tests.users import log_in

Break = Callable[[Any], None]


def on_server(*statements: str) -> Break:
    """Break it on the server; open sessions of the application end."""

    def do(sandbox: Planner) -> None:
        with sandbox.connect() as session:
            for statement in statements:
                session.execute(statement)
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'planner'"
            )

    return do


def in_settings(**values: str) -> Break:
    """Break it in the application's settings; each process is started with them."""

    def do(sandbox: Sandbox) -> None:
        edit(sandbox, **values)
        for name in sandbox.upstreams:
            sandbox.restart(name)

    return do


def edit(sandbox: Planner, **values: str) -> None:
    """Edit the `.env` as a person does."""
    lines = sandbox.dotenv.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        name = line.partition("=")[0]
        if name in values:
            lines[number] = f"{name}={values[name]}\n"
    sandbox.dotenv.write_text("".join(lines))


def states(sandbox: Planner) -> tuple[object, ...]:
    """Give the role, who may connect, and the settings."""
    with sandbox.connect() as session:
        role = session.execute(
            "SELECT a::text FROM pg_authid a WHERE rolname = 'planner'"
        ).fetchone()
        rights = session.execute(
            "SELECT has_database_privilege('planner', current_database(), 'CONNECT'), "
            "has_database_privilege('planner_admin', current_database(), 'CONNECT')"
        ).fetchone()
    return role, rights, sandbox.dotenv.read_bytes()


def insist_on_no_secret(case: Case, sandbox: Planner) -> None:
    """No password is in what was recorded."""
    told = "".join(str(entry) for entry in case.entries)
    for line in sandbox.dotenv.read_text().splitlines():
        if line.startswith("POSTGRES_PASSWORD="):
            assert line.partition("=")[2] not in told
    assert sandbox.settings.application_password not in told


PASSWORD = on_server("ALTER ROLE planner PASSWORD 'somebody-changed-it'")
DATABASE_SIDE = {
    "password": PASSWORD,
    "no_connect": on_server(
        "REVOKE CONNECT ON DATABASE planner FROM PUBLIC",
        "REVOKE CONNECT ON DATABASE planner FROM planner",
    ),
    "closed expired password": on_server(
        "ALTER ROLE planner NOLOGIN VALID UNTIL '2024-01-01' PASSWORD 'other'"
    ),
}


def with_odd_password(sandbox: Sandbox) -> None:
    """Set a password on both sides which the application's URL cannot hold."""
    on_server("ALTER ROLE planner PASSWORD 'half@way/%41'")(sandbox)
    in_settings(POSTGRES_PASSWORD="half@way/%41")(sandbox)


APPLICATION_SIDE = {
    "password": PASSWORD,
    "a password that no URL holds": with_odd_password,
    "all else": in_settings(POSTGRES_PORT="1", POSTGRES_DB="planer", POSTGRES_USER="planer"),
}


def on_platforms(wrong: Mapping[str, Break]) -> pytest.MarkDecorator:
    """Break it in every way on the sandbox, and by its password on compose."""
    ways = [*(("sandbox", one) for one in wrong), ("compose", "password")]
    return pytest.mark.parametrize(("planner", "wrong"), ways, indirect=["planner"])


@on_platforms(DATABASE_SIDE)
def test_the_role_is_made_to_fit_the_settings(runs: Runs, planner: Planner, wrong: str) -> None:
    """Found by trying, mended on the server, and taken back exactly."""
    DATABASE_SIDE[wrong](planner)
    assert log_in(planner).status_code != 200
    broken = states(planner)
    case, state = carry_out(runs, planner, repair_database_credentials, side="database")
    assert state.name == "Remediated", state.message
    assert log_in(planner).status_code == 200
    assert planner.dotenv.read_bytes() == broken[2]
    insist_on_no_secret(case, planner)

    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert states(planner) == broken
    assert list(planner.secrets.iterdir()) == []


def test_a_password_that_somebody_sets_meanwhile_stays(runs: Runs, sandbox: Sandbox) -> None:
    """While the approval waits another one mends it: theirs is not overwritten."""
    PASSWORD(sandbox)
    target = sandbox.settings.name
    run, state = runs.start(repair_database_credentials, target=target, side="database")
    assert state is None, state
    on_server("ALTER ROLE planner PASSWORD 'set-meanwhile'")(sandbox)
    before = states(sandbox)
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Refused", state.message
    assert "has got another password since" in str(state.message)
    assert states(sandbox) == before


@on_platforms(APPLICATION_SIDE)
def test_the_settings_are_made_to_fit_the_server(runs: Runs, planner: Planner, wrong: str) -> None:
    """With a new password only where the present one does not fit; taken back exactly."""
    APPLICATION_SIDE[wrong](planner)
    assert log_in(planner).status_code != 200
    broken = states(planner)
    case, state = carry_out(runs, planner, repair_database_credentials, side="application")
    assert state.name == "Remediated", state.message
    assert log_in(planner).status_code == 200
    changed = broken[0] != states(planner)[0]
    assert changed == (wrong != "all else")
    insist_on_no_secret(case, planner)

    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert states(planner) == broken
    assert list(planner.secrets.iterdir()) == []


def test_settings_that_were_mended_are_taken_up(runs: Runs, sandbox: Sandbox) -> None:
    """Somebody has corrected the file, and nobody has restarted the application."""
    in_settings(POSTGRES_PASSWORD="wrong")(sandbox)
    edit(sandbox, POSTGRES_PASSWORD=sandbox.settings.application_password)
    assert log_in(sandbox).status_code != 200
    case, state = carry_out(runs, sandbox, repair_database_credentials, side="database")
    assert state.name == "Remediated", state.message
    assert [one.kind for one in case.stages[0].stage.changes] == ["application.take_settings_up"]
    assert log_in(sandbox).status_code == 200


def test_it_says_what_is_wrong_and_changes_nothing(runs: Runs, sandbox: Sandbox) -> None:
    """That is its default."""
    PASSWORD(sandbox)
    broken = states(sandbox)
    case, state = carry_out(runs, sandbox, repair_database_credentials)
    assert state.name == "Advised", state.message
    (first, advice) = case.stages[0].stage.findings
    assert first.rows == (
        (
            "the password in its settings is not the one of planner",
            "database or application",
        ),
    )
    assert "side=database" in advice.patch
    assert states(sandbox) == broken


def test_a_rule_of_the_server_is_told_from_a_wrong_password(runs: Runs, sandbox: Sandbox) -> None:
    """pg_hba.conf keeps it out: neither side can mend that, and nothing is begun."""
    rules = sandbox.cluster.data / "pg_hba.conf"
    original = rules.read_text()
    rules.write_text(f"host all planner 127.0.0.1/32 reject\n{original}")
    on_server("SELECT pg_reload_conf()")(sandbox)
    try:
        case, state = carry_out(runs, sandbox, repair_database_credentials, side="database")
    finally:
        rules.write_text(original)
        with sandbox.connect() as session:
            session.execute("SELECT pg_reload_conf()")
    assert state.name == "Refused", state.message
    assert "the password is right, and the server keeps planner out" in (state.message or "")
    assert not case.of_kind("begun")


def test_a_superuser_is_not_chosen_for_the_application(runs: Runs, sandbox: Sandbox) -> None:
    """Its role is missing, and the database is a superuser's: a person says which role."""
    in_settings(POSTGRES_USER="planer")(sandbox)
    with sandbox.connect() as session:
        session.execute("ALTER DATABASE planner OWNER TO postgres")
    case, state = carry_out(runs, sandbox, repair_database_credentials, side="application")
    assert state.name == "Refused", state.message
    assert "is a superuser" in (state.message or "")
    assert not case.of_kind("begun")


def test_a_sound_login_is_left_alone(runs: Runs, sandbox: Sandbox) -> None:
    """Whichever side is asked for."""
    for side in ("find", "database", "application"):
        _, state = carry_out(runs, sandbox, repair_database_credentials, side=side)
        assert state.name == "Unchanged", state.message


def test_md5_verifiers_are_read_too(runs: Runs, sandbox: Sandbox) -> None:
    """An old server keeps them."""
    password = sandbox.settings.application_password
    # Made here: the server's statistics of statements are not to have it in clear.
    verifier = "md5" + hashlib.md5(f"{password}planner".encode()).hexdigest()  # noqa: S324 - is it
    with sandbox.connect() as session:
        session.execute(f"ALTER ROLE planner PASSWORD '{verifier}'")
    with pytest.raises(psycopg.OperationalError):  # the sandbox's rules want SCRAM
        psycopg.connect(
            host="127.0.0.1",
            port=sandbox.settings.ports["postgresql"],
            dbname="planner",
            user="planner",
            password=password,
        )
    case, state = carry_out(runs, sandbox, repair_database_credentials)
    assert state.name == "Advised", state.message
    assert "keeps planner out" in str(case.stages[0].stage.findings[0].rows)
