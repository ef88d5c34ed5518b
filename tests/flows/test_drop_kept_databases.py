"""drop_kept_databases where restores have kept databases."""

import pytest
from psycopg import sql

from flows.database.back_up_database import back_up_database
from flows.database.drop_kept_databases import drop_kept_databases
from flows.database.restore_from_backup import restore_from_backup
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.damage import Damage, damage
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Work
from tasks.platforms.sandbox.target import SandboxTarget
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
    case = Case.read(Ledger(), runs.id_of(run))
    with pytest.raises(WorldMoved, match="put it to use"):  # opened between the look and the drop
        case.stages[0].stage.changes[0].apply(Work(case.target, case.id))
    assert kept in databases(sandbox)


def test_what_another_target_keeps_stays(runs: Runs, sandbox: Sandbox) -> None:
    """Its approvers decide on it: a target on the same server lists it, and so for no ledger's."""
    restore, kept = restored(runs, sandbox, keep_days=0)
    settings = sandbox.target_settings()
    SandboxTarget(**settings).save("another", overwrite=True)
    run, state = runs.start(drop_kept_databases, target="another")
    assert state is not None
    assert state.name == "Unchanged", state.message
    (finding,) = Case.read(Ledger(), runs.id_of(run)).stages[0].stage.findings
    assert finding.rows[0][0] == kept
    assert finding.rows[0][-1] == f"no: kept for target {sandbox.settings.name}"
    with sandbox.connect("postgres") as session:
        row = session.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [kept],
        ).fetchone()
        assert row is not None
        comment = row[0].replace(restore, "abcdefghij")
        session.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(kept), comment)
        )
    case, state = carry_out(runs, sandbox, drop_kept_databases)
    assert state.name == "Unchanged", state.message
    assert "ledger" in case.stages[0].stage.findings[0].rows[0][-1]
    assert kept in databases(sandbox)
