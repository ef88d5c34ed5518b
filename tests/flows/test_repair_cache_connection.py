"""The application does not get on with its cache, in the ways in which that comes about."""

from collections.abc import Callable
from contextlib import closing

import pytest

from flows.application.repair_cache_connection import repair_cache_connection
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.service_user import hand_over
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.application.answers import ask_application
from tasks.guardrails.plan import Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.cache_states import (
    OLD,
    cache_as,
    configuration,
    protect,
    protected,
    refused,
    restart_alone,
    set_password,
    users,
)
from tests.prefect_fixtures import Runs

ADMIN = "admin-of-the-cache"

pytestmark = pytest.mark.usefixtures("cache_as_shipped")


def cached(planner: Planner, password: str = "") -> list[str]:
    """Use the application, and give what it has put into its cache."""
    ask_application(Work(target=planner.settings.name, remediation="test"))
    with closing(cache_as(planner, password)) as client:
        return [str(one) for one in client.scan_iter(match="planner:*")]


def set_up(planner: Planner, **values: str) -> None:
    """Set settings as a person does, and start the application with them."""
    for name, value in values.items():
        set_password(planner, name, value)
    if isinstance(planner, Sandbox):
        for name in planner.upstreams:
            planner.restart(name)
    elif isinstance(planner, ComposeSystem):
        planner.up()


def stop(planner: Planner) -> None:
    """Stop the cache, as the kernel or a person does."""
    if isinstance(planner, Sandbox):
        planner.kill("valkey")
    elif isinstance(planner, ComposeSystem):
        planner.project.container("redis").kill()


def known_to_us(sandbox: Sandbox, **fields: str) -> None:
    """Let remediations log in to the cache as somebody of their own."""
    targets.give(SandboxTarget(**{**sandbox.target_settings(), **fields}))


def state_of(sandbox: Sandbox, password: str) -> tuple[object, ...]:
    """Give users, file and settings."""
    lines = users(sandbox, password)
    return lines, configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()


def test_a_cache_that_does_not_run_is_started(runs: Runs, planner: Planner) -> None:
    """With what it had, and the application uses it again."""
    stop(planner)
    _, found = carry_out(runs, planner, repair_cache_connection)
    assert found.name == "Advised", found.message
    case, state = carry_out(runs, planner, repair_cache_connection, side="server")
    assert state.name == "Remediated", state.message
    assert [one.kind for one in case.stages[0].stage.changes] == ["cache.start"]
    assert cached(planner)


def test_a_wrong_address_is_corrected_and_taken_back(runs: Runs, planner: Planner) -> None:
    """The settings fit the server; the undo brings the file back byte for byte."""
    set_up(planner, REDIS_HOST="no-such-host.invalid", REDIS_PORT="1")
    before = planner.dotenv.read_bytes()
    assert not cached(planner)
    case, state = carry_out(runs, planner, repair_cache_connection, side="application")
    assert state.name == "Remediated", state.message
    assert cached(planner)
    _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert planner.dotenv.read_bytes() == before


def test_a_database_that_there_is_not_is_corrected(runs: Runs, sandbox: Sandbox) -> None:
    """Its number is the target's again."""
    set_up(sandbox, REDIS_DB="99")
    assert not cached(sandbox)
    _, refusal = carry_out(runs, sandbox, repair_cache_connection, side="server")
    assert refusal.name == "Refused", refusal.message
    assert "no database of the number" in str(refusal.message)
    _, state = carry_out(runs, sandbox, repair_cache_connection, side="application")
    assert state.name == "Remediated", state.message
    assert "REDIS_DB=0" in sandbox.dotenv.read_text()
    assert cached(sandbox)


@pytest.mark.parametrize("side", ["server", "application"])
def test_a_wrong_password_is_mended_on_either_side(runs: Runs, sandbox: Sandbox, side: str) -> None:
    """The right one stays right, also after a restart; the undo is exact; no value is told."""
    protect(sandbox)
    set_up(sandbox, REDIS_PASSWORD="not-the-caches")
    known_to_us(sandbox, cache_password=OLD)
    before = state_of(sandbox, OLD)
    assert not cached(sandbox, OLD)
    case, state = carry_out(runs, sandbox, repair_cache_connection, side=side)
    assert state.name == "Remediated", state.message
    now = targets.load(sandbox.settings.name).application.settings()["REDIS_PASSWORD"]
    assert (now == "not-the-caches") == (side == "server")
    restart_alone(sandbox)
    assert [refused(sandbox, one) for one in (now, OLD)] == ["", ""]
    assert refused(sandbox, "another one")
    assert cached(sandbox, OLD)
    told = "".join(str(entry) for entry in case.entries)
    for secret in (now, OLD):
        assert secret not in told
        assert secret not in configuration(sandbox).read_text().replace(f'"{OLD}"', "")
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert state_of(sandbox, OLD) == before
    assert list(sandbox.secrets.iterdir()) == []


def test_who_is_let_in_by_nobody_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """Remediations have no login of their own either: what they need is said, nothing is done."""
    protect(sandbox)
    set_up(sandbox, REDIS_PASSWORD="not-the-caches")
    before = state_of(sandbox, OLD)
    case, state = carry_out(runs, sandbox, repair_cache_connection)
    assert state.name == "Advised", state.message
    told = case.stages[0].stage.findings[-1]
    assert "remediations cannot look into the cache" in told.patch
    _, refusal = carry_out(runs, sandbox, repair_cache_connection, side="server")
    assert refusal.name == "Refused", refusal.message
    assert "cache_password" in str(refusal.message)
    assert state_of(sandbox, OLD) == before


@pytest.mark.parametrize("rules", ["on nopass ~* &* +@all -set", "off nopass ~other &* +ping"])
def test_a_user_gets_what_it_lacks_and_no_more(runs: Runs, sandbox: Sandbox, rules: str) -> None:
    """Switched on, given the rights of a cache and a queue; the undo takes just that back."""
    with closing(cache_as(sandbox, "")) as client:
        for user in (f"admin on >{ADMIN} ~* &* +@all", f"default reset {rules}"):
            client.execute_command("ACL", "SETUSER", *user.split())  # type: ignore[no-untyped-call] # redis-py has none
    file = configuration(sandbox)
    text = file.read_text().replace('requirepass ""\n', "")
    file.write_text(f"{text}user admin on >{ADMIN} ~* &* +@all\nuser default {rules}\n")
    known_to_us(sandbox, cache_user="admin", cache_password=ADMIN)

    def look() -> tuple[object, ...]:
        server = targets.load(sandbox.settings.name).cache_server
        with server.connect() as session:
            return sorted(session.acl_list()), file.read_bytes()

    for name in sandbox.upstreams:
        sandbox.restart(name)
    before = look()
    case, state = carry_out(runs, sandbox, repair_cache_connection, side="server")
    assert state.name == "Remediated", state.message
    (change,) = case.stages[0].stage.changes
    assert "+set" in change.title
    assert ("~planner:*" in change.title) == ("~other" in rules)
    ask_application(Work(target=sandbox.settings.name, remediation="test"))
    assert targets.load(sandbox.settings.name).cache.count()
    assert "+@all" in rules or refused_command(sandbox, "FLUSHALL")
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert look() == before


def refused_command(sandbox: Sandbox, command: str) -> bool:
    """Say whether the application's user may not do something."""
    server = targets.load(sandbox.settings.name).cache_server
    with server.connect() as session:
        answer = session.execute_command("ACL", "DRYRUN", "default", *command.split())  # type: ignore[no-untyped-call] # redis-py has none
    return str(answer) != "OK"


def in_aclfile(sandbox: Sandbox, rules: str) -> Callable[[], tuple[list[str], bytes, bytes]]:
    """Have the cache keep its users in an aclfile; gives what looks at them live and there."""
    users_file, file = sandbox.valkey.folder / "users.acl", configuration(sandbox)
    lines = f"user admin on >{ADMIN} ~* &* +@all\n\nuser default on {rules}\n"
    users_file.write_text(lines)  # not as the server itself writes it
    hand_over(users_file)
    file.write_text(file.read_text().replace('requirepass ""', f"aclfile {users_file}"))
    restart_alone(sandbox)
    known_to_us(sandbox, cache_user="admin", cache_password=ADMIN)
    server = targets.load(sandbox.settings.name).cache_server

    def look() -> tuple[list[str], bytes, bytes]:
        with server.connect() as session:
            return sorted(map(str, session.acl_list())), users_file.read_bytes(), file.read_bytes()

    return look


def test_a_user_in_an_aclfile_gets_what_it_lacks(runs: Runs, sandbox: Sandbox) -> None:
    """Also after a restart; the undo brings users and file back byte for byte."""
    look = in_aclfile(sandbox, "nopass ~* &* +@all -set")
    before = look()
    assert refused_command(sandbox, "SET planner:x 1")
    case, state = carry_out(runs, sandbox, repair_cache_connection, side="server")
    assert state.name == "Remediated", state.message
    assert [one.kind for one in case.stages[0].stage.changes] == ["cache.repair_user"]
    restart_alone(sandbox)
    assert not refused_command(sandbox, "SET planner:x 1")
    assert cached(sandbox)
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert look() == before
    restart_alone(sandbox)
    assert look() == before


def test_a_password_in_an_aclfile_stays_right_beside_a_new_one(
    runs: Runs, sandbox: Sandbox
) -> None:
    """Both after a restart; others whom somebody lets in meanwhile stay in with the undo."""
    look = in_aclfile(sandbox, f">{OLD} ~* &* +@all")
    set_up(sandbox, REDIS_PASSWORD="not-the-caches")
    before = look()
    case, state = carry_out(runs, sandbox, repair_cache_connection, side="application")
    assert state.name == "Remediated", state.message
    restart_alone(sandbox)
    now = targets.load(sandbox.settings.name).application.settings()["REDIS_PASSWORD"]
    assert [refused(sandbox, one) for one in (now, OLD)] == ["", ""]
    with targets.load(sandbox.settings.name).cache_server.connect() as session:
        session.execute_command("ACL", "SETUSER", "other", "on", ">its-own", "+ping")  # type: ignore[no-untyped-call] # redis-py has none
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    restart_alone(sandbox)
    assert refused(sandbox, now)
    assert [one for one in look()[0] if " other " in one]
    assert [one for one in look()[0] if " other " not in one] == before[0]


def test_a_container_with_an_older_password_is_made_anew(
    runs: Runs, fresh_compose: ComposeSystem, home: object
) -> None:
    """Somebody has edited `.env` and brought the application up with it, but not the cache."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    with protected(fresh_compose):
        set_password(fresh_compose, "REDIS_PASSWORD", "a-newer-one")
        up = ("up", "-d", "--no-build", "--no-deps", "--wait")
        fresh_compose.project.run(*up, "app")
        fresh_compose.project.container("nginx").exec_run(["nginx", "-s", "reload"])
        assert refused(fresh_compose, "a-newer-one")
        case, state = carry_out(runs, fresh_compose, repair_cache_connection, side="server")
        assert state.name == "Remediated", state.message
        assert [one.kind for one in case.stages[0].stage.changes] == ["cache.remake"]
        assert cached(fresh_compose, "a-newer-one")


def test_who_gets_on_with_the_cache_is_left_alone(runs: Runs, planner: Planner) -> None:
    """Whichever side is asked for."""
    for side in ("find", "both"):
        _, state = carry_out(runs, planner, repair_cache_connection, side=side)
        assert state.name == "Unchanged", state.message
