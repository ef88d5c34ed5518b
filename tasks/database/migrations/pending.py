"""Which revisions a database has still to get."""

from dataclasses import dataclass
from functools import cached_property

from tasks.database.migrations.scripts import Script, write_script
from tasks.database.schema.history import History, Revision, read_history
from tasks.database.schema.revision import read_revisions
from tasks.database.schema.settings import filled, settings_of
from tasks.guardrails.probe import probe
from tasks.platforms import targets


@dataclass(frozen=True)
class Pending:
    """Where the live database stands in the application's history.

    Args:
        live: Name of the live database.
        current: The revisions that it says it is at; None where it has no such table.
        history: The application's history.
    """

    live: str
    current: tuple[str, ...] | None
    history: History

    @cached_property
    def revisions(self) -> tuple[Revision, ...]:
        """The pending revisions in order, as far as they form a line."""
        if not self.current or len(self.current) != 1 or self.current[0] not in self.names:
            return ()
        return self.history.line_from(self.current[0])

    @property
    def names(self) -> frozenset[str]:
        """The names of all revisions of the application."""
        return frozenset(self.history.by_name)

    @property
    def at(self) -> str:
        """The revision that the live database is at; '' where that is not one."""
        return self.current[0] if self.current and len(self.current) == 1 else ""


@probe
def find_pending(target: str) -> Pending:
    """Find the revisions that the live database has still to get.

    Args:
        target: Name of the target.

    Returns:
        Where it stands.

    Raises:
        PreconditionFailed: The target or the application does not say.
    """
    system = targets.load(target)
    settings = settings_of(system)
    history = read_history(system)
    with system.database.connect() as session:
        current = read_revisions(session, settings.version_table)
    return Pending(system.database.name, current, history)


@probe
def find_scripts(target: str, pending: Pending) -> dict[str, Script]:
    """Have the application write the pending revisions as SQL.

    Args:
        target: Name of the target.
        pending: What is pending.

    Returns:
        The scripts by the names of their revisions.
    """
    system = targets.load(target)
    upgrade, at, scripts = settings_of(system).upgrade, pending.at, {}
    for revision in pending.revisions:
        command = filled(upgrade, f"{at}:{revision.name}")
        scripts[revision.name] = write_script(system, command, revision.name)
        at = revision.name
    return scripts
