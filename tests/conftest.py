"""Fixtures that all tests share: a home of their own, and a real Prefect server."""

import os
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import pytest

hypothesis.settings.register_profile("remedy", deadline=None)  # no test asserts a time
hypothesis.settings.load_profile("remedy")

for _name in [name for name in os.environ if name.startswith("REMEDY_")]:
    if _name not in {
        "REMEDY_POSTGRES_PROGRAMS",
        "REMEDY_TEST_CACHE",
        "REMEDY_TEST_PG_REPACK",
        "REMEDY_FAULTS",
        "REMEDY_FAULTS_RESULTS",
    }:
        del os.environ[_name]

os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

pytest_plugins = [
    name
    for name in (
        "tests.costly",
        "tests.prefect_fixtures",
        "tests.postgres_fixtures",
        "tests.ledger_fixtures",
        "tests.sandbox_fixtures",
        "tests.toy_fixtures",
        "tests.nginx_fixtures",
        "tests.compose_fixtures",
        "tests.firewall_fixtures",
    )
    if (Path(__file__).parent.parent / (name.replace(".", "/") + ".py")).exists()
]


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Read the public certificates once, not for each of thousands of clients (28 ms of each)."""
    create = ssl.create_default_context
    public = cache(create)
    files = {None, certifi.where(), os.environ.get("SSL_CERT_FILE")}

    def context(*purpose: ssl.Purpose, **given: Any) -> ssl.SSLContext:  # noqa: ANN401 - as ssl has it
        is_public = set(given) <= {"cafile"} and given.get("cafile") in files
        return (public if is_public else create)(*purpose, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", context)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home of its own to each test: ledger, keys, everything."""
    monkeypatch.setenv("REMEDY_HOME", str(tmp_path))
    return tmp_path
