"""Take the database back to an older schema revision: rehearsed, counted, then one at a time."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.backup.backing_up import inspect_source
from tasks.database.migrations import downgrade_findings, downgrade_plan, rehearsal, way_back
from tasks.database.migrations.downgrading import BackUpFirst, DowngradeRevision
from tasks.database.migrations.pending import find_pending
from tasks.database.migrations.plan import SchemaIsAt, describe_rehearsal
from tasks.database.restore.plan import forecast_copy, plan_limits
from tasks.guardrails.plan import Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName


@remediation(
    guide="Application Issues / API Endpoints Returning 500 Errors / Database Query Errors"
)
def downgrade_migrations(target: TargetName, revision: str) -> Plan:
    """Take the database back to an older revision of its schema, by the application's Alembic.

    A downgrade loses data: what it drops is gone. So it is first rehearsed on a copy made from
    the newest backup: what is gone afterwards, how long it takes and what it locks, and whether
    an upgrade leads back. Approvers then see how many rows and values live has in what goes.
    Each revision is taken back by itself, newest first, in one transaction; where it does not
    get a lock within 0.3 s it gives way, and is tried again. Right before, its SQL is compared with
    what was rehearsed and approved; so is the upgrade before an undo.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        revision: Whole name of the revision to go back to, as `alembic history` shows it.

    Changes:
        A copy of the database is made, migrated and dropped. Then a backup is taken, and the
        revisions are taken back in the live database. A revision that is unknown, newer or on
        another branch, and a downgrade that is empty, fails or is not one transaction, are
        refused.

    Undo:
        The schema is brought back by upgrading again, the rows in what was dropped are not. They
        are in the backup that was taken first, which stays: restore_from_backup brings them back.
    """
    pending = find_pending(target)
    standing = rehearsal.describe_standing(pending)
    problem = rehearsal.describe_problem(pending, forward=False)
    way = () if problem else way_back.find_way(pending, revision)
    if not way:
        return Plan(name="rehearse", title="Nothing is taken back", findings=(*standing, *problem))
    steps = way_back.find_steps(target, way)
    way_back.insist_on_downgrades(steps)
    scripts = way_back.by_name(steps)
    statements = rehearsal.describe_scripts(scripts, "downgrade B:A")
    statements += rehearsal.find_warnings(target, scripts)
    ready = rehearsal.look_for_copy(target, remediation_id(), pending)
    if ready.found is None:
        findings = (*standing, *statements, *ready.findings)
        return Plan(name="rehearse", title="Nothing is taken back", findings=findings)
    many = counted(len(steps), "downgrade")
    return Plan(
        name="rehearse",
        title=f"Rehearse {many} on a copy made from {ready.found.chosen.name}",
        risk=Risk.HARMLESS,
        findings=(*standing, *statements),
        changes=downgrade_plan.rehearse_on_copy(remediation_id(), steps, ready.found),
        limits=plan_limits(ready.found),
        watches=(ApplicationServes(),),
        effects=forecast_copy(ready.found),
        notes=(*ready.found.notes, *find_unproved(target)),
        later=(
            StageOutline(
                name="downgrade",
                title=f"Back {pending.live} up, and take it from {pending.at} back to {revision}",
                risk=Risk.DESTRUCTIVE,
                kinds=(BackUpFirst.kind, DowngradeRevision.kind),
                limits=("the rows and values that are counted then",),
            ),
        ),
    )


@downgrade_migrations.stage("downgrade")
def downgrade(earlier: tuple[Stage, ...], target: str, revision: str) -> Stage:
    """Plan the downgrades with what they lose in view, counted in live now."""
    pending = find_pending(target)
    steps = way_back.find_steps(target, pending.history.line_back(pending.at, revision))
    rehearsed = downgrade_plan.read_rehearsal(earlier[0], pending, steps)
    losses = downgrade_plan.measure_losses(target, rehearsed)
    source = inspect_source(target)
    changes = downgrade_plan.plan_downgrade(rehearsed, steps, source, remediation_id())
    return Stage(
        name="downgrade",
        title=f"Take {pending.live} from {pending.at} back to {revision}, one revision at a time",
        risk=Risk.DESTRUCTIVE,
        findings=(
            *downgrade_findings.describe_losses(rehearsed, losses),
            *describe_rehearsal(downgrade_findings.as_revisions(rehearsed)),
            *source.findings,
        ),
        changes=changes,
        checks=(SchemaIsAt(revision=revision), ApplicationAnswers()),
        limits=(downgrade_plan.plan_limit(pending.live, losses),),
        watches=(ApplicationServes(),),
        effects=downgrade_findings.forecast_downgrade(rehearsed, losses, source),
        notes=(*downgrade_findings.notes(changes), *source.notes),
    )
