"""A ledger for the engine's unit tests, on each of its databases."""

import pytest

from tasks.guardrails.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """A ledger on each of the databases that it may lie in."""
    found = request.getfixturevalue(f"{request.param}_ledger")
    assert isinstance(found, Ledger)
    return found
