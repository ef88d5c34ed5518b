"""Fixtures of the target made of files; loaded by conftest as a plugin."""

from pathlib import Path

import pytest

from tasks.guardrails import systems
from tasks.guardrails.ledger import Ledger
from tests import toy


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a target named 'toy', found by every process of the test."""
    made = home / "toy"
    made.mkdir()
    monkeypatch.setattr(systems, "_loaders", [toy.SYSTEMS.__getitem__])
    toy.SYSTEMS["toy"] = toy.FileSystem("toy", made)
    return made


@pytest.fixture
def ledger(home: Path) -> Ledger:
    """Open the test's ledger."""
    assert home
    return Ledger()
