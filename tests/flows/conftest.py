"""What the tests of remediations on a sandbox share."""

from pathlib import Path

import pytest

from infra.sandbox.services import Sandbox
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.shipped import Shipped


@pytest.fixture
def sandbox(fresh_sandbox: Sandbox, home: Path) -> Sandbox:
    """Give a fresh sandbox, known as a target."""
    assert home
    targets.give(SandboxTarget(**fresh_sandbox.target_settings()))
    return fresh_sandbox


@pytest.fixture
def shipped(sandbox: Sandbox, tmp_path: Path) -> Shipped:
    """Give the sandbox's application, to which revisions can be added."""
    return Shipped(sandbox, tmp_path)
