"""The password of the application's cache is rotated while users work."""

import re
import threading
from contextlib import closing, suppress

import redis
from prefect.client.schemas.objects import State

from flows.application.rotate_cache_password import rotate_cache_password
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.application.answers import ask_application
from tasks.cache.users import hash_of
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.cache_states import (
    OLD,
    cache_as,
    configuration,
    protect,
    protected,
    refused,
    restart_alone,
    users,
)
from tests.prefect_fixtures import Runs

END = "no more is to be heard"


def rotate(runs: Runs, planner: Planner, **given: object) -> tuple[Case, State[object]]:
    """Rotate it while users work; none of their requests fails, however it ends."""
    load = Load(planner.url, planner.settings.accounts[USER], rate=10)
    load.start()
    try:
        case, state = carry_out(runs, planner, rotate_cache_password, **given)
    finally:
        seen = load.stop()
    assert (seen.failed, seen.missing) == (0, []), seen.answers
    return case, state


def password_of(planner: Planner) -> str:
    """Give the password in the application's settings."""
    found = targets.load(planner.settings.name).application.settings()
    return found["REDIS_PASSWORD"]


def test_it_is_rotated_and_taken_back_with_no_request_failing(runs: Runs, sandbox: Sandbox) -> None:
    """The old one is refused, also after a restart; the undo brings all back, byte for byte."""
    protect(sandbox)
    before = users(sandbox, OLD), configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()
    case, state = rotate(runs, sandbox)
    assert state.name == "Remediated", state.message
    new = password_of(sandbox)
    assert new != OLD
    assert refused(sandbox, new) == ""
    assert refused(sandbox, OLD)
    assert refused(sandbox, "")
    assert new not in configuration(sandbox).read_text()
    restart_alone(sandbox)
    assert refused(sandbox, OLD)
    assert refused(sandbox, new) == ""

    load = Load(sandbox.url, sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    finally:
        seen = load.stop()
    assert ended.name == "Remediated", ended.message
    assert (seen.failed, seen.missing) == (0, []), seen.answers
    after = users(sandbox, OLD), configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()
    assert after == before
    assert refused(sandbox, new)
    assert list(sandbox.secrets.iterdir()) == []


def test_who_still_has_the_old_password_keeps_it_right(runs: Runs, sandbox: Sandbox) -> None:
    """A session of somebody else is named, and everything is as before."""
    protect(sandbox)
    before = users(sandbox, OLD), configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()
    with closing(cache_as(sandbox, OLD)) as report:
        report.client_setname("monthly-report")
        case, state = rotate(runs, sandbox)
        assert report.ping()
    assert state.name == "Undone", state.message
    assert "monthly-report" in case.of_kind("failed")[0].facts["found"]
    after = users(sandbox, OLD), configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()
    assert after == before
    assert list(sandbox.secrets.iterdir()) == []


def test_who_is_refused_at_the_end_is_named(runs: Runs, sandbox: Sandbox) -> None:
    """One that logs in again and again with the old one holds no session: it is found as well."""
    protect(sandbox)
    over = threading.Event()

    def log_in() -> None:
        while not over.wait(0.2):
            with suppress(redis.ConnectionError):  # it was just let in, and is ended as others are
                refused(sandbox, OLD)

    there = threading.Thread(target=log_in)
    there.start()
    try:
        case, state = rotate(runs, sandbox)
    finally:
        over.set()
        there.join()
    assert state.name == "Undone", state.message
    assert "127.0.0.1" in case.of_kind("failed")[0].facts["found"]
    assert refused(sandbox, OLD) == ""


def test_no_password_is_seen_by_the_server(runs: Runs, sandbox: Sandbox) -> None:
    """Not by who watches each command, nor in its slow log, its file or what is recorded."""
    protect(sandbox)
    # Nobody may ask anything for a while.
    with closing(cache_as(sandbox, OLD, seconds=None)) as admin:
        admin.config_set("slowlog-log-slower-than", 0)
        with admin.monitor() as monitor:  # type: ignore[no-untyped-call] # redis-py has none
            seen: list[str] = []

            def listen() -> None:
                while not seen or END not in seen[-1]:
                    seen.append(str(monitor.next_command()))

            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            # Listening is a session with the old password: it is ended as others are.
            case, _ = carry_out(runs, sandbox, rotate_cache_password)
            admin.echo(END)
            listener.join()
        slow = str(admin.slowlog_get(1000))
        admin.config_set("slowlog-log-slower-than", 10000)
    told = "".join(str(entry) for entry in case.entries)
    assert "AUTH" in "".join(seen)
    assert END in seen[-1]
    made = [str(one) for one in case.of_kind("begun")]
    assert made
    for text in ("".join(seen), slow, told):
        assert OLD not in text
        assert hash_of(OLD) not in text
    assert not re.search("[0-9a-f]{64}", "".join(seen) + slow), "the new one's hash"


def test_a_cache_for_everybody_is_told_of(runs: Runs, planner: Planner) -> None:
    """Nothing is changed unless it is asked for."""
    case, state = carry_out(runs, planner, rotate_cache_password)
    assert state.name == "Advised", state.message
    assert "lets anybody in" in case.stages[0].stage.findings[0].what
    assert refused(planner, "") == ""


def test_the_first_password_comes_and_goes_with_no_request_failing(
    runs: Runs, sandbox: Sandbox
) -> None:
    """The application sends it before it is required."""
    before = users(sandbox, ""), configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()
    for replica in targets.load(sandbox.settings.name).application.replicas():
        ask_application(Work(target=sandbox.settings.name, remediation="test"), replica.url)
    case, state = rotate(runs, sandbox, first=True)
    assert state.name == "Remediated", state.message
    assert refused(sandbox, "")
    assert refused(sandbox, password_of(sandbox)) == ""
    restart_alone(sandbox)
    assert refused(sandbox, "")
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    after = users(sandbox, ""), configuration(sandbox).read_bytes(), sandbox.dotenv.read_bytes()
    assert after == before


def test_a_container_with_the_password_in_its_command(
    runs: Runs, fresh_compose: ComposeSystem, home: object
) -> None:
    """It is made anew while requests wait: none fails, there and back."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    with protected(fresh_compose):
        dotenv = fresh_compose.dotenv.read_bytes()
        case, state = rotate(runs, fresh_compose)
        assert state.name == "Remediated", state.message
        new = password_of(fresh_compose)
        assert refused(fresh_compose, OLD)
        fresh_compose.project.container("redis").restart(timeout=10)
        fresh_compose.project.run("up", "-d", "--no-build", "--wait", "redis")
        assert refused(fresh_compose, OLD)
        assert refused(fresh_compose, new) == ""
        _, ended = carry_out(runs, fresh_compose, undo_remediation, remediation=case.id)
        assert ended.name == "Remediated", ended.message
        assert refused(fresh_compose, new)
        assert refused(fresh_compose, OLD) == ""
        assert fresh_compose.dotenv.read_bytes() == dotenv
        assert list(fresh_compose.secrets.iterdir()) == []


def test_a_password_that_the_command_has_from_elsewhere_is_refused(
    runs: Runs, fresh_compose: ComposeSystem, home: object
) -> None:
    """It is the application's by chance: the cache's next start would bring it back."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    with protected(fresh_compose, written=OLD):
        dotenv = fresh_compose.dotenv.read_bytes()
        _, state = carry_out(runs, fresh_compose, rotate_cache_password)
        assert state.name == "Refused", state.message
        assert "in its command from the application's settings" in str(state.message)
        assert refused(fresh_compose, OLD) == ""
        assert fresh_compose.dotenv.read_bytes() == dotenv
