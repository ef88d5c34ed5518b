"""What the tests of remediations on a sandbox share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.sandbox.target import SandboxTarget
from tests.shipped import Shipped
from tests.shipped_image import shipped_in_image


@pytest.fixture
def sandbox(fresh_sandbox: Sandbox, home: Path) -> Sandbox:
    """Give a fresh sandbox, known as a target."""
    assert home
    targets.give(SandboxTarget(**fresh_sandbox.target_settings()))
    return fresh_sandbox


@pytest.fixture(params=["sandbox", "compose"])
def planner(request: pytest.FixtureRequest, home: Path) -> Planner:
    """Give a fresh system on each platform in turn, known as a target."""
    assert home
    system: Planner = request.getfixturevalue(f"fresh_{request.param}")
    block = {"sandbox": SandboxTarget, "compose": ComposeTarget}[request.param]
    targets.give(block(**system.target_settings()))
    return system


@pytest.fixture
def pid_file(planner: Planner) -> Iterator[Path]:
    """Where postmaster.pid is; one that a test has emptied does not stay."""
    file = planner.cluster.data / "postmaster.pid"
    yield file
    if file.exists() and not file.read_text():
        planner.cluster.stop()
        file.unlink()


@pytest.fixture
def shipped(sandbox: Sandbox, tmp_path: Path) -> Shipped:
    """Give the sandbox's application, to which revisions can be added."""
    return Shipped(sandbox, tmp_path)


@pytest.fixture
def cache_as_shipped(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the sandbox's cache start from its shipped file in the next test."""
    yield
    for name in ("planner", "sandbox"):
        system = request.node.funcargs.get(name)
        if isinstance(system, Sandbox):
            system.valkey.service.stop()
            system.valkey.folder.chmod(0o700)


@pytest.fixture
def shipped_there(planner: Planner, tmp_path: Path) -> Iterator[Shipped]:
    """Give the application to which revisions can be added on each platform in turn."""
    if isinstance(planner, ComposeSystem):
        with shipped_in_image(planner) as shipped:
            yield shipped
    else:
        assert isinstance(planner, Sandbox)
        yield Shipped(planner, tmp_path)
