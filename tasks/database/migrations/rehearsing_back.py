"""Rehearse a downgrade on a copy: what it drops, and that an upgrade leads back."""

from typing import ClassVar

from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.database.copies.proof import count_rows
from tasks.database.migrations.losses import Held, find_dropped, read_held
from tasks.database.migrations.measured import Measured
from tasks.database.migrations.rehearsing import RehearseRevision
from tasks.database.migrations.run_on_copy import RunOnCopy
from tasks.database.migrations.scripts import insist_on_script
from tasks.database.schema.objects import describe_changes, read_objects
from tasks.database.schema.settings import filled
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import System


class RehearseDowngrade(RehearseRevision):
    """Take the copy one revision back, forth and back again; see what is gone, and how it is.

    The application's own Alembic does it, as a role that changes nothing in live.

    Args:
        side: Name of the copy.
        live: Name of the live database.
        owner: Owner of both.
        before: The revision that is taken back.
        after: The revision before it.
        in_transaction: Always: a downgrade of another sort is never planned.
        script: The digest of its downgrade as planned, '' where unknown.
        back_script: The digest of its upgrade as planned, '' where unknown.
    """

    kind: ClassVar[str] = "database.rehearse_downgrade"

    back_script: str = ""

    @property
    def title(self) -> str:
        """What the change does."""
        return f"rehearse the downgrade of {self.before} to {self.after} on {self.side}"

    def command(self, settings: MigrationSettings, revision: str) -> list[str]:
        """Give the command that leads to an older revision."""
        return filled(settings.downgrade, revision)

    def insist_on_scripts(self, system: System, settings: MigrationSettings) -> None:
        """Make sure that both ways are what was planned."""
        back = self.command(settings, f"{self.before}:{self.after}")
        forth = filled(settings.upgrade, f"{self.after}:{self.before}")
        insist_on_script(system, back, self.before, self.script)
        insist_on_script(system, forth, self.before, self.back_script)

    def measure(self, copy: RunOnCopy) -> Measured:
        """Go to the older revision, back, and there again."""
        before = _Seen(copy)
        first = self._take_back(copy)
        after = _Seen(copy)
        changes = describe_changes(before.objects, after.objects)
        fewer = tuple(
            (table, rows - after.rows[table])
            for table, rows in sorted(before.rows.items())
            if rows > after.rows.get(table, rows)
        )
        back = copy.go(
            filled(copy.settings.upgrade, self.before),
            self.before,
            todo=f"Correct the downgrade of {self.before}: after it its upgrade does not go "
            "through, so there would be no way back. Where something exists already, the "
            "downgrade left it there (a type of an enum, as a rule).",
        )
        again = _Seen(copy)
        if not changes and not fewer and describe_changes(after.objects, again.objects):
            raise self._empty()
        self._take_back(copy)
        return first.model_copy(
            update={
                "changes": changes,
                "dropped": find_dropped(before.held, after.held),
                "fewer": fewer,
                "back": back.model_copy(
                    update={
                        "differs": describe_changes(before.objects, again.objects),
                        "dropped": find_dropped(after.held, again.held),
                    }
                ),
            }
        )

    def _take_back(self, copy: RunOnCopy) -> Measured:
        return copy.go(
            self.command(copy.settings, self.after),
            self.after,
            todo=f"Correct the downgrade of {self.before}, or leave the database where it is. "
            "Where it says NotImplementedError, nobody wrote one.",
        )

    def _empty(self) -> PreconditionFailed:
        return PreconditionFailed(
            expected=f"the downgrade of {self.before} to take back what its upgrade does.",
            found="it changes nothing.",
            state="The live database is untouched.",
            todo="Write the downgrade, ship it with the application, then run again.",
        )


class _Seen:
    """The schema of a copy and the rows of its tables, as they are now."""

    def __init__(self, copy: RunOnCopy) -> None:
        """Look."""
        with connect_with(copy.system.database, copy.side, NO_TIMEOUTS) as session:
            self.objects = read_objects(session)
            self.held: Held = read_held(session)
            self.rows = count_rows(session)
