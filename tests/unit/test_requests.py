"""Who asked: a ticket admits the one request that it was issued for, and no other."""

from pathlib import Path
from typing import Any

import pyotp
import pytest
from prefect.client.schemas.objects import FlowRun

from tasks.guardrails import approvers, surface
from tasks.guardrails.case import Case, Requester
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.requests import register_schedule, ticket
from tests import toy
from tests.prefect_fixtures import Runs

ASKED = {"target": "toy", "names": ["a"], "dry_run": True, "reason": "a is missing"}
OTHER = "a ticket for another request"


@pytest.fixture
def key(sqlite_ledger: Ledger) -> str:
    """A ticket of ada's for a dry run."""
    secret = approvers.add(sqlite_ledger, "ada", ("approve",), "test").secret
    return ticket(sqlite_ledger, "toy_one_stage", ASKED, "ada", pyotp.TOTP(secret).now())


def requester_of(ledger: Ledger, runs: Runs, run: FlowRun) -> Requester:
    """Execute a run, and read whom the ledger has as its requester."""
    runs.execute(run)
    return Case.read(ledger, runs.id_of(run)).requester


@pytest.mark.parametrize(
    ("changed", "how"),
    [
        ({}, "authenticated by code"),
        # Spelled out and in another form, it is what was asked for.
        ({"risk": "harmless", "check": None, "dry_run": "true"}, "authenticated by code"),
        ({"dry_run": False}, OTHER),
        ({"names": ["a", "b"]}, OTHER),
        ({"risk": "destructive"}, OTHER),
        ({"check": "anything"}, OTHER),
        ({"reason": "ada wants it"}, OTHER),
    ],
)
def test_a_ticket_admits_its_own_request_only(
    runs: Runs, folder: Path, sqlite_ledger: Ledger, key: str, changed: dict[str, Any], how: str
) -> None:
    """Every parameter is bound, also dry_run and those that the ticket leaves at their default."""
    assert folder
    run = runs.create(toy.toy_one_stage, ticket=key, **(ASKED | changed))
    who = requester_of(sqlite_ledger, runs, run)
    assert who.how == how
    assert (who.name, who.known) == (("somebody", False) if how == OTHER else ("ada", True))


def test_a_ticket_admits_one_remediation_only(
    runs: Runs, folder: Path, sqlite_ledger: Ledger, key: str
) -> None:
    """A ticket for one remediation opens no other, though the parameters are the same."""
    assert folder
    run = runs.create(toy.toy_message, ticket=key, target="toy")
    assert requester_of(sqlite_ledger, runs, run).how == OTHER


@pytest.mark.parametrize(("names", "known"), [(["a", "b"], True), (["a"], False)])
def test_a_schedule_is_known_with_its_parameters_only(
    runs: Runs,
    folder: Path,
    sqlite_ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    known: bool,
) -> None:
    """A schedule that somebody added to the deployment, with another parameter, is anybody's."""
    assert folder
    for _ in range(2):
        register_schedule(sqlite_ledger, "toy_one_stage", {"target": "toy"})
    assert len(sqlite_ledger.entries(kinds=("schedule_registered",))) == 1
    read = surface.flow_run

    def scheduled() -> FlowRun | None:
        """Only the scheduler of Prefect's server sets this."""
        run = read()
        return run.model_copy(update={"auto_scheduled": True}) if run else None

    monkeypatch.setattr(surface, "flow_run", scheduled)
    run = runs.create(toy.toy_one_stage, target="toy", names=names)
    assert requester_of(sqlite_ledger, runs, run).known is known
