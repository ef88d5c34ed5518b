"""Rehearse a revision on a copy of the database: how long it takes, which locks it holds."""

from typing import ClassVar

from tasks.database.catalogue import DatabaseFacts, elsewhere, find_database
from tasks.database.copies.migration_role import (
    powerless_role,
    remove_role,
    role_can_log_in,
    role_exists,
    role_of,
)
from tasks.database.copies.side_database import drop_database
from tasks.database.marks import Mark, read_mark, write_mark
from tasks.database.migrations.locks import options, prove_lock_timeout, server_version
from tasks.database.migrations.measured import Measured, as_text, from_text
from tasks.database.migrations.run_on_copy import RunOnCopy
from tasks.database.migrations.scripts import insist_on_script
from tasks.database.schema.objects import describe_changes, read_objects
from tasks.database.schema.revision import find_version_table, read_revision
from tasks.database.schema.settings import environment_of, filled, insist_on, settings_of
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import Database, System

_STATEMENT_SECONDS = 0.0  # here nobody waits for it


class _OnCopy(Change):
    """A change of the copy on which migrations are rehearsed."""

    reverts: ClassVar[Reverts] = "pointless"  # it goes with the copy

    side: str

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.side}",)

    def _find(self, work: Work) -> tuple[DatabaseFacts | None, bool]:
        """Look the copy up, and say whether it is ours."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.side)
        mark = read_mark(facts.comment) if facts else None
        return facts, mark is not None and mark.remediation == work.remediation


class RehearseRevision(_OnCopy):
    """Bring the copy from one revision to the next, and measure what it takes.

    The application's own Alembic does it, as a role that changes nothing in live.

    Args:
        side: Name of the copy.
        live: Name of the live database.
        owner: Owner of both.
        before: The revision before.
        after: The revision.
        in_transaction: Whether it is one transaction, so that a failure leaves nothing.
        script: Its digest as it was planned, '' where unknown.
    """

    kind: ClassVar[str] = "database.rehearse_revision"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:CREATEROLE", "application:run")

    needs: tuple[str, ...] = ("database.load_backup",)
    live: str
    owner: str
    before: str
    after: str
    in_transaction: bool = True
    script: str = ""

    @property
    def title(self) -> str:
        """What the change does."""
        return f"rehearse revision {self.after} on {self.side}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"the copy at {self.before}", f"the copy at {self.after}, measured"

    def observe(self, work: Work) -> Observed:
        """Read the copy's revision and what its comment has of this one."""
        facts, is_ours = self._find(work)
        system = targets.load(work.target)
        if facts is None or not is_ours:
            return Observed(Standing.OTHER, f"there is no copy {self.side} of ours")
        with system.database.connect(self.side) as session:
            revision = read_revision(session, settings_of(system).version_table)
            left = role_can_log_in(session, role_of(work.remediation))
        found = [one for one in from_text(facts.comment) if one.revision == self.after]
        if left:
            return Observed(Standing.HALF, "the role that it ran as is still there")
        if revision == self.after and found:
            return Observed(Standing.AFTER, f"{found[0].sentence}. {as_text(tuple(found))}")
        if revision == self.after:
            return Observed(Standing.HALF, f"{self.side} is at {revision}, and nothing was kept")
        standing = Standing.BEFORE if revision == self.before else Standing.OTHER
        return Observed(standing, f"{self.side} is at {revision or 'no revision'}")

    def apply(self, work: Work) -> str:
        """Run it there, watched from a second session; keep what was seen on the copy."""
        system = targets.load(work.target)
        database, settings = system.database, settings_of(system)
        remove_role(database, self.side, self.owner, role_of(work.remediation), may_stay=True)
        with database.connect(self.side) as session:
            if read_revision(session, settings.version_table) == self.after:
                measured = Measured(revision=self.after)  # its process died before it was kept
            else:
                measured = self._rehearse(system, work)
        self._keep(database, work, measured)
        return measured.sentence

    def _rehearse(self, system: System, work: Work) -> Measured:
        database, settings = system.database, settings_of(system)
        differs = self._compare(database, settings.version_table)
        role = role_of(work.remediation)
        given = system.application.settings()
        with powerless_role(
            database, self.side, self.live, self.owner, role, may_stay=True
        ) as password:
            environment = {
                **environment_of(database, settings, self.side, role, password),
                "PGOPTIONS": options(
                    server_version(database), _STATEMENT_SECONDS, given.get("PGOPTIONS", "")
                ),
            }
            insist_on(system, settings, environment, self.side)
            with database.connect(self.side) as beside:
                table = find_version_table(beside, settings.version_table)
            command = self.command(settings, self.before)
            prove_lock_timeout(system, command, self.side, table, environment)
            self.insist_on_scripts(system, settings)
            measured = self.measure(RunOnCopy(system, self.side, role, password, environment))
        return measured.model_copy(update={"differs": differs})

    def command(self, settings: MigrationSettings, revision: str) -> list[str]:
        """Give the command that leads to a revision in this direction."""
        return filled(settings.upgrade, revision)

    def insist_on_scripts(self, system: System, settings: MigrationSettings) -> None:
        """Make sure that what runs here is what was planned."""
        command = self.command(settings, f"{self.before}:{self.after}")
        insist_on_script(system, command, self.after, self.script)

    def measure(self, copy: RunOnCopy) -> Measured:
        """Go to the revision."""
        return copy.go(
            self.command(copy.settings, self.after),
            self.after,
            todo="Correct the revision. Where it says that something exists already, part of "
            f"it was once made by hand in {self.live}: take that back, or stamp the revision.",
        )

    def _compare(self, database: Database, table: str) -> str:
        """Say how live's schema differs from the copy's, which is at the revision before."""
        with database.connect(self.side) as session:
            side = read_objects(session)
        with database.connect(self.live) as session:
            live = read_objects(session)
            revision = read_revision(session, table)
        return describe_changes(side, live) if revision == self.before else ""

    def _keep(self, database: Database, work: Work, measured: Measured) -> None:
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.side)
            earlier = from_text(facts.comment) if facts else ()
            kept = (*(one for one in earlier if one.revision != self.after), measured)
            write_mark(session, self.side, Mark(work.remediation, "migrated"), as_text(kept))

    def revert(self, work: Work) -> None:
        """Remove the role where it was left; the copy goes with its own revert."""
        database = targets.load(work.target).database
        remove_role(database, self.side, self.owner, role_of(work.remediation), may_stay=True)


class DropRehearsal(_OnCopy):
    """Drop the copy on which migrations were rehearsed.

    Args:
        side: Name of the copy.
    """

    kind: ClassVar[str] = "database.drop_rehearsal"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)

    needs: tuple[str, ...] = (RehearseRevision.kind,)

    @property
    def title(self) -> str:
        """What the change does."""
        return f"drop the copy {self.side}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"the copy {self.side}", "it is gone"

    def observe(self, work: Work) -> Observed:
        """Look the copy up."""
        facts, is_ours = self._find(work)
        if facts is None and self._role_stays(work):
            return Observed(Standing.HALF, f"{self.side} is gone, the role of it is not")
        if facts is None:
            return Observed(Standing.AFTER, f"{self.side} is gone")
        if facts.half_dropped:
            return Observed(Standing.HALF, f"{self.side} is half-dropped")
        if not is_ours:
            return Observed(Standing.OTHER, f"{self.side} is another's: {facts.comment!r}")
        return Observed(Standing.BEFORE, f"{self.side} is there")

    def apply(self, work: Work) -> None:
        """Drop it with the sessions in it, and a role that something in it had named."""
        database = targets.load(work.target).database
        drop_database(database, self.side, work.remediation)
        remove_role(database, self.side, "", role_of(work.remediation))

    def _role_stays(self, work: Work) -> bool:
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            return role_exists(session, role_of(work.remediation))
