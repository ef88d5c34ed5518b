"""What apply_migrations finds, and the stage in which it rehearses what is pending."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.database.backup.choosing import NEWEST
from tasks.database.marks import name_beside
from tasks.database.migrations.lint import Warned, find_linter, lint
from tasks.database.migrations.locks import server_version
from tasks.database.migrations.pending import Pending
from tasks.database.migrations.rehearsing import DropRehearsal, RehearseRevision
from tasks.database.migrations.scripts import Script
from tasks.database.restore.inspection import Found, Request, find_sound_backup, weigh
from tasks.database.restore.live import Live, inspect_live
from tasks.database.restore.plan import plan_loading
from tasks.database.schema.settings import missing_for_migration
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_BACKUP = "remedy run back_up_database"
_STATEMENTS = 60


@dataclass(frozen=True)
class Ready:
    """Whether the pending revisions can be rehearsed.

    Args:
        found: The backup and what a copy of it costs; None where there is none to use.
        findings: Why not.
    """

    found: Found | None = None
    findings: tuple[Finding, ...] = field(default=())


def describe_standing(pending: Pending) -> tuple[Finding, ...]:
    """Say where live stands, and what is pending."""
    at = "no such table" if pending.current is None else ", ".join(pending.current) or "nothing"
    heads = pending.history.heads
    rows = tuple((one.name, one.message) for one in pending.revisions)
    return (
        Finding(
            what=f"{pending.live} is at revision {at}; the application's head is "
            f"{', '.join(heads)}; {counted(len(rows), 'revision')} pending.",
            how="the version table, and the application's `alembic history`",
            columns=("pending", "message"),
            rows=rows,
        ),
    )


def describe_problem(pending: Pending, *, forward: bool = True) -> tuple[Finding, ...]:
    """Say what keeps live from being brought to another revision; nothing where nothing.

    Args:
        pending: Where it stands.
        forward: Whether to the application's head, by all revisions that are pending.
    """
    heads, current = pending.history.heads, pending.current
    if not current:
        what = f"{pending.live} does not say which revision its schema has."
        patch = "Where its schema is known to be a revision's: alembic stamp REVISION"
    elif len(current) > 1:
        what = f"{pending.live} is at {len(current)} revisions at once: {', '.join(current)}."
        patch = f"alembic merge {' '.join(current)}   # then ship it with the application"
    elif current[0] not in pending.names:
        what = (
            f"{pending.live} is at revision {current[0]}, which the application does not know: a "
            "newer version of it has migrated, or another one."
        )
        patch = "Deploy the version of the application that knows it, or restore_from_backup."
    elif len(heads) > 1:
        what = f"The application has {len(heads)} heads: {', '.join(heads)}."
        patch = f"alembic merge {' '.join(heads)}   # then ship it with the application"
    elif (
        forward
        and current[0] not in heads
        and pending.revisions[-1:] != (pending.history.by_name[heads[0]],)
    ):
        what = f"The revisions between {current[0]} and {heads[0]} branch, or depend on others."
        patch = f"By hand, rehearsed on a copy: alembic upgrade {heads[0]}"
    else:
        return ()
    return (Finding(what=what, how="version table and history, compared", patch=patch),)


def describe_scripts(
    scripts: Mapping[str, Script], way: str = "upgrade A:B"
) -> tuple[Finding, ...]:
    """Show revisions as SQL.

    Args:
        scripts: The revisions as SQL, in order.
        way: How Alembic wrote them.
    """
    rows = [
        (name, text) for name, script in scripts.items() for text in script.shown or ("nothing",)
    ]
    more = f"; {len(rows) - _STATEMENTS} more are not shown" if len(rows) > _STATEMENTS else ""
    torn = [name for name, one in scripts.items() if not (one.in_transaction or one.problem)]
    unread = [name for name, one in scripts.items() if one.problem]
    apart = f" Not one transaction, so may be half applied: {', '.join(torn)}." if torn else ""
    apart += f" Unread, so treated like that: {', '.join(unread)}." if unread else ""
    return (
        Finding(
            what=f"What the revisions do, as SQL{more}.{apart}",
            how=f"`alembic {way} --sql`, values of rows left out",
            columns=("revision", "statement"),
            rows=tuple(rows[:_STATEMENTS]),
        ),
    )


@probe
def find_warnings(target: str, scripts: Mapping[str, Script]) -> tuple[Finding, ...]:
    """Ask squawk what is wrong with the pending revisions.

    Args:
        target: Name of the target.
        scripts: The revisions as SQL, in order.

    Returns:
        A finding with what it says.
    """
    program = find_linter()
    if program is None:
        return (Finding(what="They were not linted: there is no squawk.", how="PATH"),)
    version = server_version(targets.load(target).database)
    warned: list[Warned] = []
    unread: list[str] = []
    for name, script in scripts.items():
        said = lint(program, name, script, version) if script.statements else ()
        warned += said or ()
        unread += [name] if said is None else []
    return (
        Finding(
            what=f"squawk warns of {counted(len(warned), 'statement')}"
            + (f"; it could not read {', '.join(unread)}." if unread else "."),
            how="squawk, by the text alone; what was measured counts",
            columns=("revision", "rule", "what", "advice"),
            rows=tuple((one.revision, one.rule, one.message, one.advice) for one in warned),
        ),
    )


def look_for_copy(target: str, remediation: str, pending: Pending) -> Ready:
    """Find out whether revisions can be rehearsed on a copy of live.

    Args:
        target: Name of the target.
        remediation: Id of the remediation.
        pending: What is pending.

    Returns:
        The backup to rehearse on, or why there is none.

    Raises:
        PreconditionFailed: A right or a setting is missing, or something stands in the way.
    """
    live = inspect_live(target, remediation, leave_attached=True)
    _require(target, live)
    try:
        choice = find_sound_backup(target, NEWEST, live)
    except PreconditionFailed as error:
        return Ready(findings=(_no_backup(error.found),))
    revision = choice.chosen.revision
    if revision != pending.at and not pending.history.is_before(revision, pending.at):
        return Ready(
            findings=(
                _no_backup(
                    f"{choice.chosen.name} is at revision {revision or 'unknown'}, from which no "
                    f"upgrade leads to {pending.at}."
                ),
            )
        )
    request = Request(target, remediation, NEWEST, leave_attached=True)
    return Ready(found=weigh(request, live, choice))


def _require(target: str, live: Live) -> None:
    if missing := missing_for_migration(targets.load(target), live.rights):
        raise PreconditionFailed(
            expected="to rehearse the revisions on a copy, by the application's own migrations.",
            found=f"missing: {'; '.join(missing)}.",
            todo="Give what is missing, then run again.",
        )


def _no_backup(why: str) -> Finding:
    return Finding(
        what=f"They cannot be rehearsed, and are not carried out unrehearsed: {why}",
        how="the target's store of backups",
        patch=f"{_BACKUP}   # then run this again",
    )


def plan_rehearsal(
    remediation: str, pending: Pending, scripts: Mapping[str, Script], found: Found
) -> tuple[Change, ...]:
    """Plan the copy, each revision on it, and the end of it.

    Args:
        remediation: Id of the remediation.
        pending: What is pending.
        scripts: The revisions as SQL.
        found: The backup.

    Returns:
        The changes in order.
    """
    live = found.live
    side = name_beside(live.name, "rehearsal", remediation)
    changes: list[Change] = list(plan_loading(side, found))
    at = pending.at
    for one in pending.revisions:
        changes.append(
            RehearseRevision(
                side=side,
                live=live.name,
                owner=live.shape.owner,
                before=at,
                after=one.name,
                in_transaction=scripts[one.name].in_transaction,
                script=scripts[one.name].digest,
            )
        )
        at = one.name
    return (*changes, DropRehearsal(side=side))
