"""An application's database where its server has none, and the schema of one without rows."""

from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import elsewhere, find_database
from tasks.database.history import read_history
from tasks.database.marks import Mark, comment_on, mark_text, read_mark
from tasks.database.migration_settings import settings_of
from tasks.database.revision import read_revision
from tasks.database.rows_of_users import find_rows, insist_on_no_rows, loss_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Loss, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import System

_TAIL = 1500


class CreateFirstDatabase(Change):
    """Create the application's database where the server has none of its name.

    Args:
        name: Its name.
        owner: Role that the application logs in as.
    """

    kind: ClassVar[str] = "database.create_first_database"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:CREATEDB", "postgresql:MEMBER OF owner")
    reverts: ClassVar[Reverts] = "exact"

    name: str
    owner: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"create database {self.name} of {self.owner}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"there is no database {self.name}", "it is there and empty"

    def observe(self, work: Work) -> Observed:
        """Look it up."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.name)
        if facts is None:
            return Observed(Standing.BEFORE, f"there is no database {self.name}")
        mark = read_mark(facts.comment)
        if mark is not None and mark.remediation == work.remediation:
            return Observed(Standing.AFTER, f"{self.name} is there, OID {facts.oid}")
        if work.begun_at is not None and not facts.comment:  # killed before it was marked
            return Observed(Standing.HALF, f"{self.name} is there without our mark")
        return Observed(Standing.OTHER, f"{self.name} is there, made by somebody else")

    def apply(self, work: Work) -> None:
        """Create it, and mark it as ours."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            if find_database(session, self.name) is None:
                session.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                        sql.Identifier(self.name), sql.Identifier(self.owner)
                    )
                )
            mark = mark_text(Mark(work.remediation, "created"), "the application's database")
            session.execute(comment_on(self.name, mark))

    def revert(self, work: Work) -> None:
        """Drop it, if no user's row is in it."""
        system = targets.load(work.target)
        if self.observe(work).standing not in {Standing.AFTER, Standing.HALF}:
            return
        insist_on_no_rows(system)
        with system.database.connect(elsewhere(system.database)) as session:
            session.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name))
            )

    def undo_loss(self, work: Work) -> Loss | None:
        """Count the rows that are in it by now."""
        return loss_of(find_rows(targets.load(work.target)))


class MigrateFirstTime(Change):
    """Bring an empty database to the schema that the application ships.

    Args:
        database: Its name.
        before: Its revision, '' for none.
        after: The application's newest revision.
    """

    kind: ClassVar[str] = "database.migrate_first_time"
    permissions: ClassVar[tuple[str, ...]] = ("application:run",)
    reverts: ClassVar[Reverts] = "pointless"  # tables without a row are in nobody's way

    database: str
    before: str
    after: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"migrate the empty database {self.database} to {self.after}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.database}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"schema revision {self.before or 'none'}", f"schema revision {self.after}"

    def observe(self, work: Work) -> Observed:
        """Read its revision."""
        system = targets.load(work.target)
        with system.database.connect() as session:
            now = read_revision(session, settings_of(system).version_table)
        standing = Standing.AFTER if now == self.after else Standing.BEFORE
        return Observed(standing, f"schema revision {now or 'none'}")

    def apply(self, work: Work) -> str:
        """Migrate, if still no user's row is in it.

        Raises:
            PreconditionFailed: Rows came meanwhile, or a migration failed.
        """
        system = targets.load(work.target)
        insist_on_no_rows(system)
        command = [part.replace("{revision}", self.after) for part in settings_of(system).upgrade]
        done = system.application.run(command, {})
        if done.status:
            raise PreconditionFailed(
                expected=f"`{' '.join(command)}` to bring {self.database} to {self.after}.",
                found=f"status {done.status}: {done.output[-_TAIL:]}{done.errors[-_TAIL:]}".strip(),
                state="No user's row is in the database.",
                todo="Correct the migration or the application's settings, then run again.",
            )
        return f"migrated by the application to {self.after}"


def newest_revision(system: System) -> str:
    """Give the newest revision of the schema that the application ships.

    Raises:
        PreconditionFailed: It does not tell, or there are several.
    """
    heads = read_history(system).heads
    if len(heads) != 1:
        raise PreconditionFailed(
            expected="an application with one newest revision of its schema.",
            found=f"{len(heads)}: {', '.join(heads)}.",
            todo="Have them merged (alembic merge), then run again.",
        )
    return heads[0]
