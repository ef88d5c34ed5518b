"""Apply the application's pending schema revisions: rehearsed first, then one at a time."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.migrations import plan as migration_plan
from tasks.database.migrations import rehearsal
from tasks.database.migrations.applying import ApplyRevision
from tasks.database.migrations.pending import find_pending, find_scripts
from tasks.database.migrations.plan import SchemaIsAt
from tasks.database.restore.plan import forecast_copy, plan_limits
from tasks.database.schema.settings import settings_of
from tasks.guardrails.plan import Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.targets import TargetName


@remediation(
    guide="Application Issues / API Endpoints Returning 500 Errors / Database Query Errors"
)
def apply_migrations(target: TargetName) -> Plan:
    """Bring the database to the schema that the application expects, by its own Alembic.

    The guide's `alembic upgrade head` applies all revisions in one transaction, waits for locks
    as long as it takes, and makes everybody wait behind it. Here they are first rehearsed on a
    copy made from the newest backup, where it is measured how long each takes and what it locks.
    Then each is applied by itself; where it does not get a lock within 0.3 s it gives way, and is
    tried again for 5 minutes; where users wait for it longer than expected it is ended and rolled
    back, and tried three times at most. What commits on its way, or cannot be written as SQL, gets
    one attempt. Right before each attempt it is compared with what was rehearsed and approved:
    its SQL, or the revision's own file where that cannot be written or makes other values each
    time. Where users wait longer, as rehearsed, than the target's `longest_stall_seconds` allows,
    an approval of its own is asked, for that revision and those behind it.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        A copy of the database is made, migrated and dropped. Then each pending revision is applied
        to the live database. Several heads, a revision that is not known, or no backup to rehearse
        on: nothing is changed, and the plan says what to do.

    Undo:
        A revision that fails is rolled back by its own transaction. Those that were applied stay:
        a downgrade may lose what was written since, and is never done by an undo.
    """
    pending = find_pending(target)
    standing = rehearsal.describe_standing(pending)
    problem = rehearsal.describe_problem(pending)
    if problem or not pending.revisions:
        return Plan(name="rehearse", title="Nothing is applied", findings=(*standing, *problem))
    scripts = find_scripts(target, pending)
    statements = rehearsal.describe_scripts(scripts) + rehearsal.find_warnings(target, scripts)
    ready = rehearsal.look_for_copy(target, remediation_id(), pending)
    if ready.found is None:
        return Plan(
            name="rehearse",
            title="Nothing is applied",
            findings=(*standing, *statements, *ready.findings),
        )
    longest = settings_of(targets.load(target)).longest_stall_seconds
    many = counted(len(pending.revisions), "revision")
    kinds = (ApplyRevision.kind,)
    return Plan(
        name="rehearse",
        title=f"Rehearse {many} on a copy made from {ready.found.chosen.name}",
        risk=Risk.HARMLESS,
        findings=(*standing, *statements),
        changes=rehearsal.plan_rehearsal(remediation_id(), pending, scripts, ready.found),
        limits=plan_limits(ready.found),
        watches=(ApplicationServes(),),
        effects=forecast_copy(ready.found),
        notes=(*ready.found.notes, *find_unproved(target)),
        later=(
            StageOutline(
                name="migrate",
                title=f"Apply what stalls nobody for more than {longest:g} s",
                risk=Risk.DISRUPTIVE,
                kinds=kinds,
            ),
            StageOutline(
                name="migrate_slow",
                title="Apply the rest, from the first revision on that stalls users for longer",
                risk=Risk.DESTRUCTIVE,
                kinds=kinds,
            ),
        ),
    )


@apply_migrations.stage("migrate")
def migrate(earlier: tuple[Stage, ...], target: str) -> Stage:
    """Plan what was rehearsed to stall nobody for long; empty where the first one does."""
    found = migration_plan.read_rehearsal(target, earlier[0])
    return _apply("migrate", Risk.DISRUPTIVE, target, found.plain)


@apply_migrations.stage("migrate_slow")
def migrate_slow(earlier: tuple[Stage, ...], target: str) -> Stage:
    """Plan the rest, with the measured stall in view; empty where there is none."""
    found = migration_plan.read_rehearsal(target, earlier[0])
    return _apply("migrate_slow", Risk.DESTRUCTIVE, target, found.slow)


def _apply(name: str, risk: Risk, target: str, revisions: migration_plan.Revisions) -> Stage:
    if not revisions:  # nothing to approve
        title = migration_plan.title_of((), target)
        return Stage(name=name, title=title, risk=Risk.HARMLESS)
    pending = find_pending(target)
    migration_plan.insist_on(pending, find_scripts(target, pending), revisions)
    return Stage(
        name=name,
        title=migration_plan.title_of(revisions, pending.live),
        risk=risk,
        findings=migration_plan.describe_rehearsal(revisions),
        changes=migration_plan.plan_applying(target, revisions),
        checks=(SchemaIsAt(revision=revisions[-1][0].after), ApplicationAnswers()),
        watches=(ApplicationServes(),),
        effects=migration_plan.forecast(revisions),
        notes=migration_plan.notes(),
    )
