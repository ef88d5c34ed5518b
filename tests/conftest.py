"""Fixtures that all tests share: a home of their own, and a real Prefect server."""

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("remedy", deadline=None)  # no test asserts a time
hypothesis.settings.load_profile("remedy")

for _name in [name for name in os.environ if name.startswith("REMEDY_")]:
    if _name not in {
        "REMEDY_POSTGRES_PROGRAMS",
        "REMEDY_TEST_CACHE",
        "REMEDY_FAULTS",
        "REMEDY_FAULTS_RESULTS",
    }:
        del os.environ[_name]

os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

pytest_plugins = [
    name
    for name in (
        "tests.prefect_fixtures",
        "tests.postgres_fixtures",
        "tests.ledger_fixtures",
        "tests.sandbox_fixtures",
        "tests.toy_fixtures",
        "tests.nginx_fixtures",
    )
    if (Path(__file__).parent.parent / (name.replace(".", "/") + ".py")).exists()
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home of its own to each test: ledger, keys, everything."""
    monkeypatch.setenv("REMEDY_HOME", str(tmp_path))
    return tmp_path
