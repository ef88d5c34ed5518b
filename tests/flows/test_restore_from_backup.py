"""restore_from_backup and back_up_database through the engine, on systems broken for real."""

import time

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, State

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.damage import Damage, damage
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tests.approving import Approvers
from tests.prefect_fixtures import Runs
from tests.snapshots import Snapshot, databases, snapshot
from tests.users import log_in


def name_of(planner: Planner) -> str:
    """Give the target's name."""
    return planner.settings.name


def back_up(runs: Runs, planner: Planner) -> None:
    """Take a backup by the remediation that does."""
    _, state = runs.start(back_up_database, target=name_of(planner))
    assert state is not None
    assert state.name == "Remediated", state.message


def restore(runs: Runs, planner: Planner, ledger: Ledger) -> tuple[FlowRun, State[object]]:
    """Restore, with as many approvals as are asked for."""
    run, state = runs.start(restore_from_backup, target=name_of(planner))
    if state is None:
        state = Approvers(ledger).approve_until_it_ends(runs, run)
    return run, state


def read_projects(planner: Planner, rows: list[str]) -> set[int]:
    """Read projects as a user does, from the cache where they are in it; gives the statuses."""
    token = log_in(planner).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=planner.url, headers=headers, trust_env=False, timeout=30) as client:
        return {client.get(f"/api/v1/projects/{row}").status_code for row in rows}


@pytest.mark.parametrize(
    ("planner", "kind"),
    [
        *(("sandbox", kind) for kind in Damage),
        ("compose", Damage.ROWS_DELETED),
    ],
    indirect=["planner"],
)
def test_each_damage_is_repaired(runs: Runs, planner: Planner, kind: Damage) -> None:
    """After the restore all rows are as they were in the backup, and a user can log in."""
    ledger = Ledger()
    original = snapshot(planner)
    back_up(runs, planner)
    damage(planner, kind)
    run, state = restore(runs, planner, ledger)
    assert state.name == "Remediated", state.message
    assert snapshot(planner) == original
    assert log_in(planner).is_success
    case = Case.read(ledger, runs.id_of(run))
    assert case.outcome == "remediated"
    watched = case.of_kind("watched")
    assert [bool(entry.facts["asked"]) for entry in watched] == [True, True]
    assert watched[1].facts["problem"] == ""
    assert not any(holder.is_live for holder in holders(ledger))


def test_undo_gives_the_original_back(runs: Runs, planner: Planner) -> None:
    """The undo of a restore leaves schema and rows as they were before it, for users too."""
    ledger = Ledger()
    back_up(runs, planner)
    with planner.connect() as session:
        found = session.execute("SELECT id::text FROM projects ORDER BY id LIMIT 5").fetchall()
    projects = [row for (row,) in found]
    damage(planner, Damage.ROWS_DELETED)
    broken: Snapshot = snapshot(planner)
    run, state = restore(runs, planner, ledger)
    assert state.name == "Remediated", state.message
    assert snapshot(planner) != broken
    assert read_projects(planner, projects) == {httpx.codes.OK}  # they are cached now
    undo, undone = runs.start(
        undo_remediation, target=name_of(planner), remediation=runs.id_of(run)
    )
    if undone is None:
        undone = Approvers(ledger).approve_until_it_ends(runs, undo)
    assert undone.name == "Remediated", undone.message
    assert snapshot(planner) == broken
    assert read_projects(planner, projects) == {httpx.codes.NOT_FOUND}
    (record,) = Case.read(ledger, runs.id_of(undo)).stages
    assert "the application logs in, reads and writes" in record.stage.notes[0]  # rows were gone


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_amounts_that_move_while_approval_waits_are_no_other_world(
    runs: Runs, planner: Planner
) -> None:
    """Users write while somebody thinks: what is lost grows within its limit, and it is done."""
    ledger = Ledger()
    back_up(runs, planner)
    damage(planner, Damage.ROWS_DELETED)
    load = Load(planner.url, planner.settings.accounts[USER], rate=10)
    load.start()
    try:
        run, state = runs.start(restore_from_backup, target=name_of(planner))
        assert state is None
        before = loaded(planner)
        while loaded(planner) < before + 20:
            time.sleep(0.1)
        state = Approvers(ledger).approve_until_it_ends(runs, run)
    finally:
        load.stop()
    assert state.name == "Remediated", state.message
    case = Case.read(ledger, runs.id_of(run))
    assert not case.of_kind("failed", "superseded")
    amounts = [e.facts["amount"] for e in case.of_kind("measured")]
    assert max(amount for amount in amounts if amount < 1000) >= 20


def loaded(planner: Planner) -> int:
    """Count what the load has written."""
    with planner.connect() as session:
        row = session.execute("SELECT count(*) FROM programs WHERE name LIKE 'Load %'").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_dry_run_changes_nothing(runs: Runs, planner: Planner) -> None:
    """A dry run leaves catalogue and data as they were."""
    back_up(runs, planner)
    damage(planner, Damage.ROWS_DELETED)
    before, names = snapshot(planner), databases(planner)
    _, state = runs.start(restore_from_backup, target=name_of(planner), dry_run=True)
    assert state is not None
    assert state.name == "Planned", state.message
    assert snapshot(planner) == before
    assert databases(planner) == names


def test_refused_cut_over_leaves_nothing(runs: Runs, planner: Planner) -> None:
    """When the cut-over is refused the copy is removed, and live was never touched."""
    ledger = Ledger()
    back_up(runs, planner)
    damage(planner, Damage.ROWS_DELETED)
    before, names = snapshot(planner), databases(planner)
    run, state = runs.start(restore_from_backup, target=name_of(planner))
    assert state is None
    assert databases(planner) != names
    refused = Approvers(ledger).refuse(runs, run)
    assert refused.name == "Refused", refused.message
    assert databases(planner) == names
    assert snapshot(planner) == before
