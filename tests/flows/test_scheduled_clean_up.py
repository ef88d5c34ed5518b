"""The clean-up of backups as its schedule starts it, under a standing approval."""

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun

from flows.database.back_up_database import back_up_database
from flows.database.clean_up_backups import clean_up_backups
from infra.sandbox.services import Sandbox
from tasks.database.backup.retention import DestroyDiscarded, DiscardBackup
from tasks.guardrails import approvers, standing, surface, systems
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.requests import own_parameters, register_schedule
from tests.approving import carry_out
from tests.prefect_fixtures import Runs


def give(ledger: Ledger, target: str, risk: str) -> None:
    """Give a standing approval of the daily clean-up up to a risk."""
    bounds: dict[str, Any] = {
        "remediation": "clean_up_backups",
        "target": target,
        "parameters": own_parameters(clean_up_backups, {"target": target}),
        "kinds": [DiscardBackup.kind, DestroyDiscarded.kind],
        "at_most": 10,
        "risk": risk,
        "until": datetime.now(UTC) + timedelta(days=1),
        "fingerprint": systems.load(target).fingerprint(),
        "reason": "daily",
    }
    with ledger.writing() as chain:
        standing.give(ledger, chain, bounds, "polly")


def test_nobody_is_asked_within_the_risk_that_was_approved(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old ones are moved; a box is destroyed only once what destroys is covered as well."""
    target, ledger = sandbox.settings.name, Ledger()
    carry_out(runs, sandbox, back_up_database)
    (backup,) = sandbox.backups.glob("*.dump")
    for day in range(1, 5):
        for part in sandbox.backups.glob(f"{backup.name}*"):
            name = part.name.replace(backup.stem, f"backup-2020010{day}-020000")
            shutil.copy2(part, part.with_name(name))
    approvers.add(ledger, "polly", ("policy", "approve"), "test")
    register_schedule(ledger, "clean_up_backups", {"target": target})
    started = surface.flow_run

    def started_by_the_scheduler() -> FlowRun | None:
        run = started()
        return run.model_copy(update={"auto_scheduled": True}) if run else None

    monkeypatch.setattr(surface, "flow_run", started_by_the_scheduler)
    give(ledger, target, "disruptive")
    run, state = runs.start(clean_up_backups, target=target)
    assert state is not None
    assert state.name == "Remediated", state.message
    case = Case.read(ledger, runs.id_of(run))
    assert [len(case.of_kind(kind)) for kind in ("standing_used", "decided")] == [1, 0]
    assert len(list(sandbox.backups.glob("*.dump"))) == 3
    (box,) = (sandbox.backups / ".trash").iterdir()
    over = box.rename(box.with_name(f"20240101-000000-{case.id}"))
    _, state = runs.start(clean_up_backups, target=target)
    assert state is None
    assert over.exists()
    give(ledger, target, "destructive")
    _, state = runs.start(clean_up_backups, target=target)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert not over.exists()
