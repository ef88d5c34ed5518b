"""The application's migrations on a copy of the database, each watched while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.database.migrations.lock_queries import BY_ROLE
from tasks.database.migrations.lock_watch import LockWatch
from tasks.database.migrations.measured import Measured
from tasks.database.schema.output import what_it_said
from tasks.database.schema.revision import find_version_table, read_revision
from tasks.database.schema.settings import settings_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import System


@dataclass(frozen=True)
class RunOnCopy:
    """The application's migrations on a copy, as a role made for it.

    Args:
        system: The target.
        side: Name of the copy.
        role: The role.
        password: Its password.
        environment: The variables that lead the application there.
    """

    system: System
    side: str
    role: str
    password: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @property
    def settings(self) -> MigrationSettings:
        """How the application migrates."""
        return settings_of(self.system)

    def go(self, command: Sequence[str], to: str, *, todo: str) -> Measured:
        """Bring the copy to a revision, watched from a second session.

        Args:
            command: Does it.
            to: The revision.
            todo: What to do where it does not get there.

        Returns:
            What it took.

        Raises:
            PreconditionFailed: It failed.
        """
        table = self.settings.version_table
        with self.system.database.connect(self.side) as beside:
            quoted = find_version_table(beside, table)
            with LockWatch(beside, BY_ROLE, {"role": self.role}, quoted) as watch:
                done = self.system.application.run(command, self.environment)
            reached = read_revision(beside, table)
        if done.status or reached != to or watch.failure:
            said = what_it_said(done, (self.password,), self.system.application.settings())
            raise PreconditionFailed(
                expected=f"{' '.join(command)} to bring a copy of the database to {to}.",
                found=f"status {done.status}, the copy is at {reached or 'no revision'}; it said: "
                f"{said}{f'; {watch.failure}' if watch.failure else ''}",
                state="The live database is untouched.",
                todo=todo,
            )
        return Measured(
            revision=to,
            seconds=round(watch.seconds, 3),
            locks=tuple((one.table, one.mode, one.seconds) for one in watch.held),
        )
