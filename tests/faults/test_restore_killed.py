"""A restore whose process is killed with -9 at its worst moments, and recovered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from flows.help.recover_remediation import recover_remediation
from infra.sandbox.damage import Damage, damage
from infra.sandbox.services import Sandbox
from tasks.guardrails import surface
from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import Approvers
from tests.faults.loading import held_in_load
from tests.faults.sampling import sample
from tests.prefect_fixtures import Runs
from tests.snapshots import databases, snapshot

FLOW = "flows.database.restore_from_backup:restore_from_backup"


@pytest.fixture
def sandbox(fresh_sandbox: Sandbox, home: Path, runs: Runs) -> Sandbox:
    """Give a sandbox with a backup, broken afterwards."""
    assert home
    targets.give(SandboxTarget(**fresh_sandbox.target_settings()))
    _, state = runs.start(back_up_database, target=fresh_sandbox.settings.name)
    assert state is not None
    assert state.name == "Remediated", state.message
    return fresh_sandbox


def in_a_process(sandbox: Sandbox, run: FlowRun, fault: str = "") -> "subprocess.Popen[bytes]":
    """Execute a run in a process of its own."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": PREFECT_API_URL.value() or "",
        "REMEDY_FAULT": f"KILL={fault}" if fault else "",
    }
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.run_in_process",
            str(run.id),
            FLOW,
            f"sandbox={sandbox.home}",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def recover_until_it_ends(runs: Runs, ledger: Ledger, remediation: str) -> str:
    """Recover a remediation, with the approvals that it asks for."""
    run, state = runs.start(recover_remediation, remediation=remediation)
    people = Approvers(ledger)
    for _ in range(5):
        if state is not None:
            return str(state.name)
        people.approve_gate(Case.read(ledger, remediation))
        state = runs.wake(run)
    message = "it still waits"
    raise AssertionError(message)


def test_killed_in_the_middle_of_the_load(runs: Runs, sandbox: Sandbox) -> None:
    """What pg_restore had begun is cleared, and the restore goes on to its end."""
    ledger, original = Ledger(), snapshot(sandbox)
    names = databases(sandbox)
    damage(sandbox, Damage.ROWS_DELETED)
    run = runs.create(restore_from_backup, target=sandbox.settings.name)
    process = in_a_process(sandbox, run)
    with held_in_load(sandbox, process.pid):
        process.kill()
        process.wait()
    case = Case.read(ledger, runs.id_of(run))
    assert case.of_kind("begun"), "it was killed in the middle of a change"
    assert recover_until_it_ends(runs, ledger, case.id) == "Remediated"
    assert snapshot(sandbox) == original
    left = set(databases(sandbox)) - set(names)
    assert len(left) == 1, f"only the old database is kept: {left}"
    assert not any(holder.is_live and not holder.is_dead for holder in holders(ledger))


def test_its_copy_is_half_dropped(runs: Runs, sandbox: Sandbox) -> None:
    """A DROP DATABASE that died with its client leaves what only another one removes."""
    ledger, original = Ledger(), snapshot(sandbox)
    damage(sandbox, Damage.ROWS_DELETED)
    run = runs.create(restore_from_backup, target=sandbox.settings.name)
    assert in_a_process(sandbox, run, "before-apply:database.load_backup").wait() == -9
    remediation = runs.id_of(run)
    with sandbox.connect("postgres") as session:
        half = "UPDATE pg_database SET datconnlimit = -2 WHERE datname LIKE %s"
        assert session.execute(half, (f"%_{remediation}",)).rowcount == 1
    assert recover_until_it_ends(runs, ledger, remediation) == "Remediated"
    assert snapshot(sandbox) == original


@pytest.mark.parametrize(
    "fault",
    sample(
        [
            "database.swap_databases:first-rename",
            "database.swap_databases:swapped",
            "database.swap_databases:counting",
            "after-apply:database.swap_databases",
            "before-entry:stage_done",
        ],
        2,
    ),
)
def test_killed_in_the_cut_over(runs: Runs, sandbox: Sandbox, fault: str) -> None:
    """Between the two renames all is rolled back; the recovery swaps under the same approval."""
    ledger, original = Ledger(), snapshot(sandbox)
    damage(sandbox, Damage.ROWS_DELETED)
    run, state = runs.start(restore_from_backup, target=sandbox.settings.name)
    assert state is None
    case = Case.read(ledger, runs.id_of(run))
    Approvers(ledger).approve_gate(case)
    assert surface.wake(str(run.id)) == ""
    assert in_a_process(sandbox, run, fault).wait() == -9
    approvals = len(Case.read(ledger, case.id).of_kind("decided"))
    assert recover_until_it_ends(runs, ledger, case.id) == "Remediated"
    ended = Case.read(ledger, case.id)
    assert len(ended.of_kind("decided")) == approvals
    told = [str(entry.facts.get("note")) for entry in ended.of_kind("done")]
    was_told = any("written to it between the comparison and the swap" in one for one in told)
    # Killed in the moment between the end of the swap and its record, it is told by nobody.
    assert was_told is not fault.startswith("after-apply")
    assert snapshot(sandbox) == original
    assert not any(holder.is_live and not holder.is_dead for holder in holders(ledger))
