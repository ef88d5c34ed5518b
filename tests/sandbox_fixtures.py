"""Fixtures of the sandbox; loaded by conftest as a plugin."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.sandbox import pristine
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from infra.testbed.docker.engine import locked
from tasks.platforms.sandbox.target import SandboxTarget

FEW_ROWS = 5_000
PREFIX = "remedy-test-sandbox-"


@pytest.fixture(scope="session")
def sandbox_system() -> Iterator[Sandbox]:
    """A sandbox with few rows, up for the whole session; one for each worker of xdist."""
    # Not pytest's own folder: PostgreSQL runs as nobody, and that one shuts others out.
    _remove_orphans()
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    home.chmod(0o711)
    try:
        with sandbox_in(home, FEW_ROWS) as sandbox:
            yield sandbox
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def sandbox_in(home: Path, rows: int) -> Iterator[Sandbox]:
    """Give a sandbox in a folder, up, filled, and with its pristine copy kept."""
    sandbox = Sandbox(home, durable=False, password_cost=4)
    try:
        sandbox.up()
        seed(sandbox, rows=rows)
        pristine.keep(sandbox)
        yield sandbox
    finally:
        sandbox.down()


def _remove_orphans() -> None:
    """Stop and remove sandboxes whose test run was killed."""
    temporary = Path(tempfile.gettempdir())
    with locked(temporary / f"{PREFIX}orphans.lock"):  # another worker of xdist removes them too
        for home in temporary.glob(f"{PREFIX}*"):
            owner = home.name.removeprefix(PREFIX).partition("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)) and (home / "run").exists():
                Sandbox(home).destroy()


@pytest.fixture
def fresh_sandbox(sandbox_system: Sandbox) -> Sandbox:
    """The sandbox as it was seeded: services up, rows, roles and cache reset, no backups."""
    pristine.reset(sandbox_system)
    pristine.discard(sandbox_system.backups.iterdir())
    return sandbox_system


@pytest.fixture
def sandbox_target(fresh_sandbox: Sandbox) -> SandboxTarget:
    """The fresh sandbox as a target."""
    return SandboxTarget(**fresh_sandbox.target_settings())


@pytest.fixture
def limited_target(fresh_sandbox: Sandbox) -> SandboxTarget:
    """The fresh sandbox as a target whose maintenance user is no superuser."""
    return SandboxTarget(**fresh_sandbox.target_settings(limited=True))
