"""The application is restarted process by process while users work."""

import pytest

from infra.sandbox.load import USER, Load
from infra.sandbox.services import Sandbox
from tasks.application.rolling import roll
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Work
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget

WORK = Work("sandbox", "abcdefghij")


@pytest.fixture
def system(sandbox_target: SandboxTarget) -> SandboxTarget:
    """The sandbox as a target that tasks find."""
    targets.give(sandbox_target)
    return sandbox_target


def pids(sandbox: Sandbox) -> dict[str, int]:
    """Give the process of each replica."""
    status = sandbox.status()
    return {name: status[name]["pid"] for name in sandbox.upstreams}


def test_no_request_fails_while_all_are_restarted(
    fresh_sandbox: Sandbox, system: SandboxTarget
) -> None:
    """Each is another process afterwards, and gets requests."""
    before = pids(fresh_sandbox)
    load = Load(fresh_sandbox.url, fresh_sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        assert roll(WORK, lambda _one: False) == 2
    finally:
        seen = load.stop()
    assert (seen.failed, seen.missing) == (0, [])
    after = pids(fresh_sandbox)
    assert all(after[name] not in {None, pid} for name, pid in before.items())
    assert all(one.serves for one in system.application.replicas())


def test_what_is_as_it_should_be_is_left_alone(
    fresh_sandbox: Sandbox, system: SandboxTarget
) -> None:
    """Only the other one is restarted."""
    assert system.name == "sandbox"
    before = pids(fresh_sandbox)
    assert roll(WORK, lambda one: one.name == "application-1") == 1
    after = pids(fresh_sandbox)
    assert after["application-1"] == before["application-1"]
    assert after["application-2"] != before["application-2"]


def test_one_that_does_not_run_is_started_first(
    fresh_sandbox: Sandbox, system: SandboxTarget
) -> None:
    """The other one is restarted once this one serves."""
    fresh_sandbox.kill("application-2")
    assert roll(WORK, lambda _one: False) == 2
    assert all(one.serves for one in system.application.replicas())


def test_the_only_one_is_not_restarted(fresh_sandbox: Sandbox, system: SandboxTarget) -> None:
    """It is said, and it goes on serving."""
    before = pids(fresh_sandbox)
    name = "application-1"
    targets.give(system.model_copy(update={"replicas": {name: system.replicas[name]}}))
    with pytest.raises(PreconditionFailed, match="users would meet an outage"):
        roll(WORK, lambda _one: False)
    assert pids(fresh_sandbox) == before


def test_one_that_cannot_reach_the_database_gets_no_requests(
    fresh_sandbox: Sandbox, system: SandboxTarget
) -> None:
    """Its /health answers 200 with a wrong password; users never meet it."""
    before = pids(fresh_sandbox)
    system.application.configure({"POSTGRES_PASSWORD": "wrong"})
    load = Load(fresh_sandbox.url, fresh_sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        with pytest.raises(PreconditionFailed, match="before it gets requests"):
            roll(WORK, lambda _one: False)
    finally:
        seen = load.stop()
    assert (seen.failed, seen.missing) == (0, [])
    first, second = system.application.replicas()
    assert (first.drained, second.serves) == (True, True)
    assert pids(fresh_sandbox)["application-2"] == before["application-2"]
    system.application.configure({"POSTGRES_PASSWORD": fresh_sandbox.settings.application_password})
    assert roll(WORK, lambda one: one.name == "application-2") == 1
    assert all(one.serves for one in system.application.replicas())
