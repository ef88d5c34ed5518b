"""The application's settings lack secrets; who still knows them gives them back."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from flows.application.restore_secrets import restore_secrets
from flows.docker.repair_crash_loop import repair_crash_loop
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms import targets
from tasks.secrets.missing import find_missing
from tasks.secrets.restoring import NEW
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.users import log_in, under_load
from tests.waiting import until

KEY, PASSWORD, TOKEN = "SECRET_KEY", "POSTGRES_PASSWORD", "MAIL_TOKEN"


def values(planner: Planner) -> dict[str, str]:
    """Read the settings as a person does."""
    lines = planner.dotenv.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def lose(planner: Planner, *names: str) -> bytes:
    """Have lines of the settings be gone; gives the text without them."""
    lines = planner.dotenv.read_bytes().splitlines(keepends=True)
    kept = [one for one in lines if one.partition(b"=")[0].decode() not in names]
    assert len(kept) == len(lines) - len(names)
    planner.dotenv.write_bytes(b"".join(kept))
    return planner.dotenv.read_bytes()


def restart(planner: Planner) -> None:
    """Start the application anew, as a person does who does not know that they are gone."""
    if isinstance(planner, Sandbox):
        for name in planner.upstreams:
            planner.restart(name)
    elif isinstance(planner, ComposeSystem):
        planner.project.run("up", "-d", "--no-build", "--no-deps", "app")
        planner.up()


def reads(planner: Planner, token: str) -> list[int]:
    """Read as somebody who has logged in some time ago; each replica is asked."""
    with httpx.Client(base_url=planner.url, trust_env=False, timeout=30) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return [client.get("/api/v1/programs", headers=headers).status_code for _ in range(6)]


def insist_on_no_value(case: Case, *secret: str) -> None:
    """No value is in what was recorded."""
    told = "".join(str(entry) for entry in case.entries)
    assert not [one for one in secret if one in told]


def test_replicas_that_still_run_give_them_back(runs: Runs, planner: Planner) -> None:
    """Nobody is logged out and nothing restarted; the undo is byte for byte."""
    had, token = values(planner), log_in(planner).json()["access_token"]
    without = lose(planner, KEY, PASSWORD)
    with under_load(planner):
        case, state = carry_out(runs, planner, restore_secrets)
    assert state.name == "Remediated", state.message
    assert values(planner) == had
    insist_on_no_value(case, had[KEY], had[PASSWORD])
    restart(planner)
    assert reads(planner, token) == [200] * 6
    again, state = carry_out(runs, planner, restore_secrets)
    assert state.name == "Unchanged", state.message
    assert "missing: none" in again.stages[0].stage.findings[0].what
    _, state = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert planner.dotenv.read_bytes() == without
    assert reads(planner, token) == [200] * 6
    assert list(planner.secrets.iterdir()) == []


def test_what_nobody_knows_is_said(runs: Runs, planner: Planner) -> None:
    """Replicas that were started without them know nothing; nothing is touched."""
    without = lose(planner, KEY, PASSWORD)
    restart(planner)
    assert not log_in(planner).is_success
    case, state = carry_out(runs, planner, restore_secrets)
    assert state.name == "Advised", state.message
    patches = [one.patch for one in case.stages[0].stage.findings]
    named = f"--target {planner.settings.name} --param"
    assert f"remedy run repair-database-credentials {named} side=application" in patches
    assert f"""remedy run restore-secrets {named} 'generate=["{KEY}"]'""" in patches
    assert planner.dotenv.read_bytes() == without
    _, state = carry_out(runs, planner, restore_secrets, generate=[PASSWORD])
    assert state.name == "Refused", state.message
    assert "is a password of one" in (state.message or "")
    assert planner.dotenv.read_bytes() == without


def test_what_is_said_to_be_run_makes_a_setting_of_a_name_of_ones_own(
    runs: Runs, sandbox: Sandbox
) -> None:
    """The command that the report gives needs nothing besides."""
    case, state = carry_out(runs, sandbox, restore_secrets, names=[TOKEN])
    assert state.name == "Advised", state.message
    (said,) = [one.patch for one in case.stages[0].stage.findings if one.patch]
    assert f"""generate=["{TOKEN}"]""" in said
    assert "names=" not in said
    need = find_missing(sandbox.settings.name, [], [TOKEN], case.id)
    assert need.change is not None
    assert dict(need.change.sources) == {TOKEN: NEW}


def test_a_key_is_made_anew_where_that_is_asked(runs: Runs, sandbox: Sandbox) -> None:
    """Its loss is approved of; then each replica takes what another one has signed."""
    without = lose(sandbox, KEY)
    restart(sandbox)
    token = log_in(sandbox).json()["access_token"]
    assert 401 in reads(sandbox, token)  # each process has a key of its own
    case, state = carry_out(runs, sandbox, restore_secrets, generate=[KEY])
    assert state.name == "Remediated", state.message
    assert "users log in again" in case.stages[0].stage.effects.lost
    new = values(sandbox)[KEY]
    assert len(new) >= 60
    insist_on_no_value(case, new)
    assert reads(sandbox, log_in(sandbox).json()["access_token"]) == [200] * 6
    _, state = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert sandbox.dotenv.read_bytes() == without


def test_the_login_comes_back_as_a_whole(runs: Runs, sandbox: Sandbox) -> None:
    """Its user is lost as well: the password is tried with the one that the replica has."""
    had = values(sandbox)
    lose(sandbox, KEY, PASSWORD, "POSTGRES_USER", "POSTGRES_DB")
    _, state = carry_out(runs, sandbox, restore_secrets)
    assert state.name == "Remediated", state.message
    assert values(sandbox) == had


def test_which_of_two_keys_is_right_nobody_knows(runs: Runs, sandbox: Sandbox) -> None:
    """Each replica runs with another one: neither is chosen without a word."""
    text, key = sandbox.dotenv.read_text(), values(sandbox)[KEY]
    sandbox.dotenv.write_text(text.replace(key, "another-key-of-somebody"))
    sandbox.restart(next(iter(sandbox.upstreams)))
    without = lose(sandbox, KEY)
    case, state = carry_out(runs, sandbox, restore_secrets)
    assert state.name == "Advised", state.message
    assert (KEY, "missing", "nobody") in case.stages[0].stage.findings[0].rows
    assert sandbox.dotenv.read_bytes() == without


def test_a_password_that_its_server_refuses_is_not_given_back(runs: Runs, sandbox: Sandbox) -> None:
    """Replicas run on with an older one, on sessions that they had."""
    without = lose(sandbox, PASSWORD)
    with sandbox.connect() as session:
        session.execute("ALTER ROLE planner PASSWORD 'somebody-changed-it'")
    case, state = carry_out(runs, sandbox, restore_secrets)
    assert state.name == "Advised", state.message
    assert (PASSWORD, "missing", "nobody") in case.stages[0].stage.findings[0].rows
    assert sandbox.dotenv.read_bytes() == without


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_the_record_of_when_it_was_sound_gives_them_back(runs: Runs, planner: Planner) -> None:
    """The container was made anew without them: what was recorded before knows them."""
    assert isinstance(planner, ComposeSystem)
    # It may just have been made anew; nothing is remembered of one that still starts.
    until(lambda: planner.project.container("app").health == "healthy")
    _, state = carry_out(runs, planner, repair_crash_loop, remember=True, watch_seconds=1)
    assert state.name == "Remediated", state.message
    had, token = values(planner), log_in(planner).json()["access_token"]
    lose(planner, KEY, PASSWORD)
    with begun_by(planner, f"echo '{TOKEN} is not set'; exec uvicorn app.main:app --host 0.0.0.0"):
        restored(runs, planner, had, token)


def restored(runs: Runs, planner: Planner, had: dict[str, str], token: str) -> None:
    """What was lost is given back; a complaint of what it can do without hinders nothing."""
    assert not log_in(planner).is_success
    case, state = carry_out(runs, planner, restore_secrets)
    assert state.name == "Remediated", state.message
    assert values(planner) == had
    insist_on_no_value(case, had[KEY], had[PASSWORD])
    assert reads(planner, token) == [200] * 6
    (row,) = [one for one in case.stages[0].stage.findings[0].rows if one[0] == TOKEN]
    assert row[2] == "nobody"


@contextmanager
def begun_by(planner: Planner, command: str) -> Iterator[None]:
    """Have the application's container start with a command; as shipped afterwards."""
    assert isinstance(planner, ComposeSystem)
    over = planner.folder / "docker-compose.prod.yml"
    shipped = over.read_text()
    try:
        given = f'  app:\n    command: [sh, -c, "{command}"]\n'
        over.write_text(shipped.replace("  app:\n", given, 1))
        planner.project.run("up", "-d", "--no-build", "--no-deps", "app")
        until(lambda: TOKEN.encode() in planner.project.container("app").logs())
        yield
    finally:
        over.write_text(shipped)
        restart(planner)


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_what_the_application_complains_of_is_named(runs: Runs, planner: Planner) -> None:
    """It ends because of a variable of which nobody else knows."""
    with begun_by(planner, f"echo {TOKEN} is not set; exit 1"):
        case, state = carry_out(runs, planner, restore_secrets)
    assert state.name == "Advised", state.message
    (row,) = [one for one in case.stages[0].stage.findings[0].rows if one[0] == TOKEN]
    assert "complains in its log" in row[1]
    assert row[2] == "nobody"


@contextmanager
def insisted_on(planner: ComposeSystem, *names: str) -> Iterator[None]:
    """Have the compose files insist on variables, as files for production do."""
    file = planner.folder / "docker-compose.yml"
    shipped, key = file.read_text(), "      SECRET_KEY: ${SECRET_KEY}\n"
    text = shipped
    for name in names:
        text = text.replace(f"${{{name}}}", f"${{{name}:?hidden}}")
        if name not in shipped:
            text = text.replace(key, f"{key}      {name}: ${{{name}:?hidden}}\n")
    assert text != shipped
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(shipped)


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_what_the_compose_files_insist_on_comes_back(runs: Runs, planner: Planner) -> None:
    """Compose does nothing at all without: who runs with it still knows it, and nobody is cut off.

    Nobody else acts on such files, and the undo is byte for byte.
    """
    assert isinstance(planner, ComposeSystem)
    had = values(planner)
    with insisted_on(planner, KEY, PASSWORD):
        without = lose(planner, KEY, PASSWORD)
        with pytest.raises(PreconditionFailed, match=r"not set(.|\n)*restore-secrets finds"):
            targets.load(planner.settings.name).application.settings()
        with under_load(planner):
            case, state = carry_out(runs, planner, restore_secrets)
        assert state.name == "Remediated", state.message
        assert values(planner) == had
        insist_on_no_value(case, had[KEY], had[PASSWORD])
        rows = case.stages[0].stage.findings[0].rows
        said = {name: where for name, where, _ in rows}
        assert "nothing starts without it" in said[KEY]
        assert "nothing starts without it" in said[PASSWORD]
        restart(planner)
        assert log_in(planner).is_success
        _, state = carry_out(runs, planner, undo_remediation, remediation=case.id)
        assert state.name == "Remediated", state.message
        assert planner.dotenv.read_bytes() == without
        assert log_in(planner).is_success


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_what_the_compose_files_insist_on_and_nobody_knows_is_said(
    runs: Runs, planner: Planner
) -> None:
    """It is named with what to run, and what else is missing is not given back by itself."""
    assert isinstance(planner, ComposeSystem)
    with insisted_on(planner, TOKEN):
        without = lose(planner, KEY)
        case, state = carry_out(runs, planner, restore_secrets)
    assert state.name == "Advised", state.message
    (row,) = [one for one in case.stages[0].stage.findings[0].rows if one[0] == TOKEN]
    assert row == (TOKEN, "missing: nothing starts without it", "nobody")
    (patch,) = [one.patch for one in case.stages[0].stage.findings if one.patch]
    assert TOKEN in patch
    assert planner.dotenv.read_bytes() == without
    assert "hidden" not in "".join(str(one) for one in case.entries)
