"""Bring the copy to the schema that the running application expects, by its own migrations."""

from typing import ClassVar

from tasks.database.catalogue import elsewhere, find_database
from tasks.database.copies.migration_role import powerless_role, remove_role, role_exists, role_of
from tasks.database.marks import Mark, read_mark, write_mark
from tasks.database.schema.output import what_it_said
from tasks.database.schema.revision import read_revision
from tasks.database.schema.settings import environment_of, insist_on, settings_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database

_DONE = {"migrated", "frozen", "kept", "undone"}


class MigrateSideDatabase(Change):
    """Run the application's migrations against the copy, as a role that changes nothing in live.

    Args:
        side: Name of the copy.
        live: Name of the live database.
        owner: Owner of both.
        before: Revision of the backup's schema.
        after: Revision of live's schema.
    """

    kind: ClassVar[str] = "database.migrate_side_database"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:CREATEROLE", "application:run")
    reverts: ClassVar[Reverts] = "exact"

    needs: tuple[str, ...] = ("database.load_backup",)
    side: str
    live: str
    owner: str
    before: str
    after: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"migrate {self.side} from {self.before} to {self.after}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.side}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"schema revision {self.before}", f"schema revision {self.after}"

    def observe(self, work: Work) -> Observed:
        """Read the copy's revision and who owns it, and look for the role."""
        system = targets.load(work.target)
        with system.database.connect(elsewhere(system.database)) as session:
            facts = find_database(session, self.side)
            there = role_exists(session, role_of(work.remediation))
        if facts is None:  # it goes with the copy
            standing = Standing.HALF if there else Standing.BEFORE
            return Observed(standing, f"there is no {self.side}, {'a' if there else 'no'} role")
        mark = read_mark(facts.comment)
        if there:
            return Observed(Standing.HALF, f"the role {role_of(work.remediation)} is still there")
        if mark and mark.state in _DONE:
            return Observed(Standing.AFTER, f"{self.side} is {mark.state}")
        return Observed(Standing.BEFORE, f"{self.side} is {mark.state if mark else 'not ours'}")

    def apply(self, work: Work) -> str:
        """Migrate as a role made for it, prove where it lands first, give the copy back."""
        system = targets.load(work.target)
        database, settings = system.database, settings_of(system)
        role = role_of(work.remediation)
        with powerless_role(database, self.side, self.live, self.owner, role) as password:
            environment = environment_of(database, settings, self.side, role, password)
            insist_on(system, settings, environment, self.side)
            command = [part.replace("{revision}", self.after) for part in settings.upgrade]
            done = system.application.run(command, environment)
            if done.status != 0:
                said = what_it_said(done, (password,), system.application.settings())
                raise PreconditionFailed(
                    expected=f"{' '.join(command)} to bring {self.side} to {self.after}.",
                    found=f"status {done.status}: {said}",
                    state="The live database is untouched; the copy goes with the undo.",
                    todo="Choose a backup of the present schema, or correct the migration.",
                )
        self._compare(database, settings.version_table)
        with database.connect(elsewhere(database)) as session:
            write_mark(
                session,
                self.side,
                Mark(work.remediation, "migrated"),
                f"copy of {self.live}, migrated to {self.after}; goes with an undo",
            )
        return f"migrated by the application to {self.after}"

    def revert(self, work: Work) -> None:
        """Remove the role; the copy itself goes with its own revert."""
        database = targets.load(work.target).database
        remove_role(database, self.side, self.owner, role_of(work.remediation))
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.side)
            mark = read_mark(facts.comment) if facts else None
            if (
                mark
                and mark.remediation == work.remediation
                and mark.state in {"migrated", "frozen"}
            ):
                write_mark(
                    session, self.side, Mark(work.remediation, "loaded"), "its undo is under way"
                )

    def _compare(self, database: Database, table: str) -> None:
        with database.connect(self.side) as session:
            side = read_revision(session, table)
        with database.connect(self.live) as session:
            live = read_revision(session, table)
        if side != self.after or live != self.after:
            raise PreconditionFailed(
                expected=f"both databases at revision {self.after}.",
                found=f"{self.side} at {side or 'none'}, {self.live} at {live or 'none'}.",
                state=f"This remediation's role had no right to write to {self.live}.",
                todo="Find out who migrated meanwhile, then run again.",
            )
