"""The application's history of schema revisions, as its own Alembic tells it."""

import re
from dataclasses import dataclass
from functools import cached_property

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import System

# `older -> newer (head), message`; older is `<base>`, a name, or `a, b`, with `(c)` behind it
# where the revision depends on others besides.
_STEP = re.compile(
    r"^(?P<older>[^\s,()]+(?:, [^\s,()]+)*)(?P<depends> \([^)]*\))? -> (?P<newer>[^\s,()]+)"
    r"(?P<marks>(?: \([^)]*\))*)(?:, (?P<message>.*))?$",
    re.MULTILINE,
)
BASE = "<base>"
_SHOWN = 300


@dataclass(frozen=True)
class Revision:
    """A revision of the schema.

    Args:
        name: Its name.
        parents: The revisions before it; several where it merges, none at the beginning.
        message: What its author calls it.
        depends: Whether it asks for others besides its parents.
    """

    name: str
    parents: tuple[str, ...]
    message: str = ""
    depends: bool = False


@dataclass(frozen=True)
class History:
    """Every revision that the application ships, newest first."""

    revisions: tuple[Revision, ...]

    @cached_property
    def by_name(self) -> dict[str, Revision]:
        """The revisions by their names."""
        return {one.name: one for one in self.revisions}

    @property
    def heads(self) -> tuple[str, ...]:
        """The revisions that none comes after, in order of their names."""
        older = {parent for one in self.revisions for parent in one.parents}
        return tuple(sorted(set(self.by_name) - older))

    def after(self, name: str) -> list[Revision]:
        """Give the revisions that have this one as a parent; '' for the beginning."""
        if not name:
            return [one for one in self.revisions if not one.parents]
        return [one for one in self.revisions if name in one.parents]

    def is_before(self, older: str, newer: str) -> bool:
        """Say whether upgrades lead from one revision to another one."""
        reached = {older}
        while (
            more := {one.name for one in self.revisions if reached.intersection(one.parents)}
            - reached
        ):
            reached |= more
        return older != newer and newer in reached

    def line_from(self, name: str) -> tuple[Revision, ...]:
        """Give the revisions after one in order, as far as they form a line.

        Args:
            name: The revision where it begins; '' for the beginning.

        Returns:
            Each with the one before it as its only parent. The line ends at a head, or before
            a branch, a merge, or a revision that depends on others.
        """
        line: list[Revision] = []
        while len(following := self.after(name)) == 1:
            (found,) = following
            if len(found.parents) > 1 or found.depends:
                break
            line.append(found)
            name = found.name
        return tuple(line)

    def line_back(self, newer: str, older: str) -> tuple[Revision, ...]:
        """Give the revisions that lie between two, newest first, as far as they form a line.

        Args:
            newer: The revision where it begins.
            older: The one where it ends, which is not among them.

        Returns:
            Each with the next one as its only parent; none where older is not reached, or a
            merge or a revision that depends on others lies between.
        """
        line: list[Revision] = []
        name = newer
        while name != older:
            found = self.by_name.get(name)
            if found is None or len(found.parents) != 1 or found.depends:
                return ()
            line.append(found)
            (name,) = found.parents
        return tuple(line)


def parse_history(text: str) -> History:
    """Read what `alembic history` prints; lines that name no step are passed over.

    Args:
        text: Its output.

    Returns:
        The history.
    """
    return History(
        tuple(
            Revision(
                name=step["newer"],
                parents=tuple(one for one in step["older"].split(", ") if one != BASE),
                message=(step["message"] or "").strip(),
                depends=bool(step["depends"]),
            )
            for step in _STEP.finditer(text)
        )
    )


def read_history(system: System) -> History:
    """Ask the application for its history.

    Args:
        system: The target; it has to say how its application migrates.

    Returns:
        The history.

    Raises:
        PreconditionFailed: The application does not tell it.
    """
    command = system.migrations.history if system.migrations else []
    told = system.application.run(command, {}) if command else None
    found = parse_history(told.output if told else "")
    if told is None or told.status or not found.revisions:
        said = told.errors[-_SHOWN:].strip() if told else "the target does not say how"
        raise PreconditionFailed(
            expected="the application to tell the history of its schema.",
            found=f"`{' '.join(command)}` ended with status {told.status if told else 'none'} and "
            f"names {len(found.revisions)} revisions. {said}".rstrip(),
            todo="Correct `migrations` of the target, or the application.",
        )
    return found
