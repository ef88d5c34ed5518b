"""drop_kept_databases where restores have kept databases."""

from flows.database.back_up_database import back_up_database
from flows.database.drop_kept_databases import drop_kept_databases
from flows.database.restore_from_backup import restore_from_backup
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.damage import Damage, damage
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.guardrails.ledger import Ledger
from tests.approving import Approvers, carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import databases, snapshot


def restored(runs: Runs, sandbox: Planner, keep_days: int) -> tuple[str, str]:
    """Restore, and give the remediation's id and the name of the database that it keeps."""
    carry_out(runs, sandbox, back_up_database)
    before = set(databases(sandbox))
    damage(sandbox, Damage.ROWS_DELETED)
    case, state = carry_out(runs, sandbox, restore_from_backup, keep_days=keep_days)
    assert state.name == "Remediated", state.message
    (kept,) = set(databases(sandbox)) - before
    return case.id, kept


def test_what_is_over_goes(runs: Runs, planner: Planner) -> None:
    """It is asked about as what destroys; the live database stays, and no undo is offered."""
    restore, kept = restored(runs, planner, keep_days=0)
    live = snapshot(planner)
    case, state = carry_out(runs, planner, drop_kept_databases)
    assert state.name == "Remediated", state.message
    assert kept not in databases(planner)
    assert snapshot(planner) == live
    assert len(case.of_kind("decided")) == 3
    assert "freed" in case.of_kind("done")[0].facts["note"]
    _, undone = carry_out(runs, planner, undo_remediation, remediation=restore)
    assert undone.name == "Refused", undone.message
    assert snapshot(planner) == live


def test_what_is_not_over_stays(runs: Runs, sandbox: Sandbox) -> None:
    """It is listed with its time, and nothing is planned."""
    _, kept = restored(runs, sandbox, keep_days=7)
    case, state = carry_out(runs, sandbox, drop_kept_databases)
    assert state.name == "Unchanged", state.message
    assert kept in databases(sandbox)
    (finding,) = case.stages[0].stage.findings
    assert [row[0] for row in finding.rows] == [kept]
    assert finding.rows[0][2] == "no"


def test_what_was_put_to_use_stays(runs: Runs, sandbox: Sandbox) -> None:
    """One that somebody opened between the plan and the act is not dropped."""
    _, kept = restored(runs, sandbox, keep_days=0)
    run, state = runs.start(drop_kept_databases, target=sandbox.settings.name)
    assert state is None
    with sandbox.connect("postgres") as session:
        session.execute(f'ALTER DATABASE "{kept}" ALLOW_CONNECTIONS true')
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Refused", state.message
    assert "open" in (state.message or "")
    assert kept in databases(sandbox)
