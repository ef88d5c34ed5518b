"""What the attacks are made on."""

from pathlib import Path

import pytest

from tasks.guardrails.ledger import Ledger
from tests.prefect_fixtures import Runs
from tests.security.attacked import Attacked


@pytest.fixture
def attacked(runs: Runs, ledger: Ledger, folder: Path) -> Attacked:
    """Give a target of files, and a way to start a run on it that waits."""
    return Attacked(runs, ledger, folder)
