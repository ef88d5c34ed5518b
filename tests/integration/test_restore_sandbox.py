"""Restores of the sandbox's application: proved from outside, and migrated."""

import time

import pytest

from infra.sandbox.damage import Damage, damage
from infra.sandbox.services import Sandbox
from tasks.application.answers import ApplicationAnswers
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Check, Stage, Verdict, Work
from tasks.guardrails.remediation import planning_for
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.postgres_fixtures import ID, carry_out, undo

from flows.database.back_up_database import back_up_database  # isort: skip
from flows.database.restore_from_backup import (  # isort: skip
    Attached,
    Writes,
    cut_over,
    restore_from_backup,
)


@pytest.fixture
def sandbox_work(sandbox_target: SandboxTarget) -> Work:
    """The sandbox, known by its name, with a backup."""
    targets.give(sandbox_target)
    work = Work(target=sandbox_target.name, remediation=ID)
    with planning_for(ID):
        carry_out(back_up_database.planner(sandbox_target.name), work)
    return work


def prepare(work: Work) -> Stage:
    """Plan and carry out the first stage."""
    with planning_for(ID):
        plan = restore_from_backup.planner(work.target)
    answers = carry_out(plan, work)
    assert Verdict.NOT_HELD not in {answer.verdict for answer in answers}
    return plan


def swap(work: Work, plan: Stage) -> tuple[Stage, list[Answer]]:
    """Plan and carry out the cut-over."""
    with planning_for(ID):
        stage = cut_over(
            (plan,),
            work.target,
            backup="newest",
            writes=Writes.ACCEPT,
            max_rows_lost=100,
            keep_days=7,
            attached=Attached.BLOCK,
        )
    carry_out(stage.model_copy(update={"checks": ()}), work)
    return stage, [until_it_answers(check, work) for check in stage.checks]


def until_it_answers(check: Check, work: Work, tries: int = 40) -> Answer:
    """Ask as the engine does: more than once."""
    for _ in range(tries):
        answer = check.ask(work)
        if answer.verdict is not Verdict.NOT_HELD:
            break
        time.sleep(1.5)
    return answer


@pytest.mark.parametrize(
    "kind", [Damage.ROWS_DELETED, Damage.TABLE_DROPPED, Damage.PASSWORD_HASHES_SCRAMBLED]
)
def test_the_application_works_again(
    fresh_sandbox: Sandbox, sandbox_work: Work, kind: Damage
) -> None:
    """Log in, read past the cache, write, read back, delete: held after, not before."""
    plan = prepare(sandbox_work)
    damage(fresh_sandbox, kind)
    before = ApplicationAnswers().ask(sandbox_work)
    assert before.verdict is Verdict.NOT_HELD, before
    stage, answers = swap(sandbox_work, plan)
    assert [answer.verdict for answer in answers] == [Verdict.HELD, Verdict.HELD], answers
    assert "a row written, read back and deleted" in answers[1].detail
    # What our own probe wrote, its audit rows included, does not stand in the way of an undo.
    change = next(one for one in stage.changes if one.kind == "database.swap_databases")
    assert change.undo_loss(sandbox_work) is None
    undo(stage, sandbox_work)
    undo(plan, sandbox_work)
    assert until_it_answers(ApplicationAnswers(), sandbox_work, 5).verdict is Verdict.NOT_HELD


def test_an_older_schema_is_migrated(fresh_sandbox: Sandbox, limited_target: SandboxTarget) -> None:
    """The application's own Alembic brings the copy to live's revision, as a role of its own."""
    targets.give(limited_target)
    application, database = limited_target.application, limited_target.database
    assert application.run(["alembic", "downgrade", "-1"], {}).status == 0
    work = Work(target=limited_target.name, remediation=ID)
    with planning_for(ID):
        carry_out(back_up_database.planner(limited_target.name), work)
    assert application.run(["alembic", "upgrade", "head"], {}).status == 0
    with planning_for(ID), pytest.raises(PreconditionFailed, match="CREATEROLE for"):
        restore_from_backup.planner(limited_target.name)
    with fresh_sandbox.connect("postgres") as session:
        session.autocommit = True
        session.execute(f"ALTER ROLE {limited_target.maintenance_user} CREATEROLE".encode())
    plan = prepare(work)
    kinds = [change.kind for change in plan.changes]
    assert "database.migrate_side_database" in kinds
    with database.connect("postgres") as session:
        roles = session.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^remedy'").fetchall()
    assert roles == []
    _, answers = swap(work, plan)
    assert answers[1].verdict is Verdict.HELD, answers
    with fresh_sandbox.connect("postgres") as session:
        session.autocommit = True
        session.execute(f"ALTER ROLE {limited_target.maintenance_user} NOCREATEROLE".encode())


def test_a_missing_probe_account_is_said(sandbox_target: SandboxTarget) -> None:
    """Without an account the check is not asked, and the plan's notes say what stays unproved."""
    without = sandbox_target.model_copy(update={"probe_account": None})
    targets.give(without)
    answer = ApplicationAnswers().ask(Work(target=without.name, remediation=ID))
    assert answer == Answer(Verdict.NOT_ASKED, "the target has no probe account")
