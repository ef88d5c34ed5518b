"""The application's migrations on a copy of the database, each watched while it runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.database.migrations.lock_queries import BY_ROLE, CHANGED_ROWS
from tasks.database.migrations.lock_watch import LockWatch
from tasks.database.migrations.measured import Measured
from tasks.database.schema.output import what_it_said
from tasks.database.schema.revision import find_version_table, read_revision
from tasks.database.schema.settings import settings_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import Connection, System

_GONE_SECONDS = 10.0
# Before 15 a collector writes the counts down, twice a second at most.
_WITHOUT_COLLECTOR_SINCE, _COLLECTOR_SECONDS = 150000, 0.6


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
            before = self._changed_rows(beside)
            with LockWatch(beside, BY_ROLE, {"role": self.role}, quoted) as watch:
                done = self.system.application.run(command, self.environment)
            reached = read_revision(beside, table)
            after = self._changed_rows(beside)
            # What is not counted may have changed.
            watch.count_rows_of(
                [
                    oid
                    for oid, rows in after.items()
                    if rows is None or rows > (before.get(oid) or 0)
                ]
            )
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

    def _changed_rows(self, session: Connection) -> dict[int, int | None]:
        """Count the rows that were ever updated or deleted, by the OIDs of their tables.

        Raises:
            PreconditionFailed: A migration is still at work: it is counted at its end.
        """
        give_up = time.monotonic() + _GONE_SECONDS
        while session.execute(BY_ROLE.encode(), {"role": self.role}).fetchall():
            if time.monotonic() > give_up:
                raise PreconditionFailed(
                    expected="a migration that is over to leave no session behind.",
                    found=f"a session of {self.role} is still there after {_GONE_SECONDS:.0f} s.",
                    state="The live database is untouched.",
                    todo="See that the migration ends with all that it has started.",
                )
            time.sleep(0.05)
        if session.info.server_version < _WITHOUT_COLLECTOR_SINCE:
            time.sleep(_COLLECTOR_SECONDS)
        rows = session.execute(CHANGED_ROWS.encode()).fetchall()
        return {row["oid"]: row["rows"] for row in rows}
