"""What users do while a remediation is at work and after it, and what the server logs of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem


@contextmanager
def under_load(sandbox: Planner) -> Iterator[None]:
    """Put the application under load while the block runs; not one request may fail."""
    load = Load(sandbox.url, sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        yield
    finally:
        seen = load.stop()
    assert seen.requests > 0
    assert (seen.failed, seen.missing) == (0, []), seen.answers


def log_in(sandbox: Planner) -> httpx.Response:
    """Log in as a user does."""
    return httpx.post(
        f"{sandbox.url}/api/v1/auth/login",
        json={"username": "admin", "password": sandbox.settings.accounts["admin"]},
        trust_env=False,
        timeout=30,
    )


def log_of(system: Planner) -> str:
    """Read all of the database server's log."""
    if isinstance(system, ComposeSystem):
        return system.project.container("db").logs().decode(errors="replace")
    assert isinstance(system, Sandbox)
    return system.cluster.service.log.read_text(errors="replace")
