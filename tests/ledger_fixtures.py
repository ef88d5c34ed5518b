"""Ledgers of a test's own: on a SQLite file, and on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tasks.guardrails import ledger_setup
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.postgres_fixtures import Cluster


def without_waiting_for_the_disk(ledger: Ledger) -> Ledger:
    """Have a SQLite ledger of which a test writes hundreds not wait for its disk."""
    with ledger.engine.connect() as connection:
        connection.connection.execute("PRAGMA synchronous=OFF")
    return ledger


@pytest.fixture
def sqlite_ledger(home: Path) -> Ledger:
    """A ledger on a file of its own."""
    return Ledger(Settings(home=home))


@pytest.fixture
def postgresql_ledger(home: Path, postgres_cluster: Cluster) -> Iterator[Ledger]:
    """A ledger on a PostgreSQL database of its own, written by a role that owns nothing."""
    name = f"ledger_{uuid4().hex[:12]}"
    owner, writer = f"{name}_owner", f"{name}_writer"
    postgres_cluster.run(f"CREATE ROLE {owner} LOGIN; CREATE ROLE {writer} LOGIN")
    postgres_cluster.run(f"CREATE DATABASE {name} OWNER {owner}")
    address = f"127.0.0.1:{postgres_cluster.port}/{name}"
    ledger_setup.install(f"postgresql://{owner}@{address}", writer)
    ledger = Ledger(Settings(home=home, ledger_url=f"postgresql://{writer}@{address}"))
    yield ledger
    ledger.engine.dispose()
    postgres_cluster.run(f"DROP DATABASE {name} WITH (FORCE)")
    postgres_cluster.run(f"DROP ROLE {owner}; DROP ROLE {writer}")
