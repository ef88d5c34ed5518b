"""The way from where live stands back to an older revision, and each downgrade on it as SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from tasks.database.migrations.pending import Pending
from tasks.database.migrations.scripts import Script, write_script
from tasks.database.schema.history import Revision
from tasks.database.schema.settings import filled, settings_of
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.guardrails.probe import probe
from tasks.platforms import targets

_LISTED = 10


@dataclass(frozen=True)
class Step:
    """A revision that is taken back.

    Args:
        revision: The revision.
        down: Its downgrade as SQL.
        up: Its upgrade as SQL: the way forth again.
    """

    revision: Revision
    down: Script
    up: Script

    @property
    def name(self) -> str:
        """Its name."""
        return self.revision.name

    @property
    def older(self) -> str:
        """The revision before it."""
        (older,) = self.revision.parents
        return older


def find_way(pending: Pending, wanted: str) -> tuple[Revision, ...]:
    """Find the revisions that are taken back to get to an older one.

    Args:
        pending: Where live stands: at one revision, which the application knows.
        wanted: The revision to get to.

    Returns:
        The revisions, newest first; none where live stands there already.

    Raises:
        BadInput: It is none of the application's older revisions.
        PreconditionFailed: They do not form a line.
    """
    history, at = pending.history, pending.at
    if wanted == at:
        return ()
    if wanted not in pending.names:
        _refuse(pending, wanted)
    if not history.is_before(wanted, at):
        newer = history.is_before(at, wanted)
        raise BadInput(
            expected=f"a revision before {at}, at which {pending.live} is.",
            found=f"{wanted} is a newer one."
            if newer
            else f"{wanted} lies on another branch: no downgrade of {at} leads there.",
            todo="To go forward: remedy run apply_migrations."
            if newer
            else "Give a revision that `alembic history` shows before it.",
        )
    if not (line := history.line_back(at, wanted)):
        raise PreconditionFailed(
            expected=f"a line of single revisions from {at} back to {wanted}.",
            found="one of them merges others, or depends on others.",
            todo=f"By hand, rehearsed on a copy: alembic downgrade {wanted}",
        )
    return line


def _refuse(pending: Pending, wanted: str) -> NoReturn:
    older = [one.name for one in pending.history.revisions]
    older = [name for name in older if pending.history.is_before(name, pending.at)]
    more = f" and {len(older) - _LISTED} more" if len(older) > _LISTED else ""
    named = f"{', '.join(older[:_LISTED])}{more}" if older else "there is none before it"
    raise BadInput(
        expected=f"the whole name of a revision before {pending.at}: {named}.",
        found="base, which is before the first one: every table of the application would go."
        if wanted == "base"
        else f"{wanted!r}, which the application does not know.",
        todo="Give one of those. For an empty database: drop it by hand, then run "
        "initialise_database."
        if wanted == "base"
        else "Give one of those; a part of a name, or a number as -1, is not taken.",
    )


@probe
def find_steps(target: str, way: tuple[Revision, ...]) -> tuple[Step, ...]:
    """Have the application write both directions of each revision as SQL.

    Args:
        target: Name of the target.
        way: The revisions, newest first.

    Returns:
        A step for each, in the same order.
    """
    system = targets.load(target)
    settings, steps = settings_of(system), []
    for one in way:
        (older,) = one.parents
        back = filled(settings.downgrade, f"{one.name}:{older}")
        forth = filled(settings.upgrade, f"{older}:{one.name}")
        down, up = (write_script(system, command, one.name) for command in (back, forth))
        steps.append(Step(one, down, up))
    return tuple(steps)


def insist_on_downgrades(steps: tuple[Step, ...]) -> None:
    """Refuse a downgrade that nobody wrote, or that a failure would leave half done.

    Args:
        steps: The revisions.

    Raises:
        PreconditionFailed: One is empty, fails, or is not one transaction.
    """
    for step in steps:
        if step.down.problem:
            found = step.down.problem
        elif not step.down.in_transaction:
            found = "it commits on its way, so a failure would leave it half done."
        elif not step.down.statements and (step.up.statements or step.up.problem):
            found = "it is empty: it takes nothing back of what the upgrade does."
        else:
            continue
        raise PreconditionFailed(
            expected=f"a downgrade of {step.name} that is one transaction and can be read as SQL.",
            found=found,
            todo=f"Write the downgrade of {step.name}, ship it with the application, then run "
            "again; or do it by hand, rehearsed on a copy.",
        )


def by_name(steps: tuple[Step, ...]) -> Mapping[str, Script]:
    """Give the downgrades by the names of their revisions, newest first."""
    return {one.name: one.down for one in steps}
