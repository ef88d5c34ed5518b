"""An application's database where its server has none, and the schema of one without rows."""

import time
from typing import ClassVar, LiteralString

from psycopg import sql

from tasks.database.catalogue import elsewhere, find_database
from tasks.database.copies.side_database import drop_database
from tasks.database.marks import Mark, name_beside, read_mark, write_mark
from tasks.database.schema.history import read_history
from tasks.database.schema.output import what_it_said
from tasks.database.schema.revision import read_revision
from tasks.database.schema.settings import settings_of
from tasks.database.server.rows_of_users import (
    count_rows,
    find_rows,
    insist_on_no_rows,
    loss_of,
)
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.plan import Change, Loss, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, System

_ENDED_WITHIN_SECONDS = 20.0


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
        """Look it up, and what an earlier attempt left under another name."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.name)
            draft = find_database(session, self._draft(work))
        if facts is None:
            standing = Standing.HALF if draft else Standing.BEFORE
            return Observed(standing, f"there is no database {self.name}")
        mark = read_mark(facts.comment)
        if mark is not None and mark.remediation == work.remediation:
            return Observed(Standing.AFTER, f"{self.name} is there, OID {facts.oid}")
        return Observed(Standing.OTHER, f"{self.name} is there, made by somebody else")

    def _draft(self, work: Work) -> str:
        return name_beside(self.name, "new", work.remediation)

    def apply(self, work: Work) -> None:
        """Create it under another name, mark it as ours, and give it its name."""
        database, draft = targets.load(work.target).database, self._draft(work)
        drop_database(database, draft, work.remediation)
        with database.connect(elsewhere(database)) as session:
            session.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                    sql.Identifier(draft), sql.Identifier(self.owner)
                )
            )
            write_mark(session, draft, Mark(work.remediation, "created"), "the application's")
            session.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(draft), sql.Identifier(self.name)
                )
            )

    def revert(self, work: Work) -> str:
        """Drop it, with nobody let in meanwhile; one with rows is kept closed, beside."""
        system = targets.load(work.target)
        database = system.database
        drop_database(database, self._draft(work), work.remediation)
        if self.observe(work).standing is not Standing.AFTER:
            return "there is nothing of it"
        with database.connect(elsewhere(database)) as session:
            self._allow_connections(session, "true")  # a killed attempt has shut it
            with database.connect(self.name) as inside:
                self._allow_connections(session, "false")
                try:
                    _end_others(session, self.name, inside.info.backend_pid)
                    rows = count_rows(inside, settings_of(system).version_table)
                except RemediationError:
                    self._allow_connections(session, "true")
                    raise
            name = sql.Identifier(self.name)
            if not any(rows.values()):
                session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
                return f"{self.name} held no row and is dropped"
            aside = name_beside(self.name, "undone", work.remediation)
            write_mark(session, self.name, Mark(work.remediation, "undone"), "it holds rows")
            session.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(name, sql.Identifier(aside))
            )
            return f"{self.name} holds rows and is kept, closed, as {aside}"

    def _allow_connections(self, session: Connection, allowed: LiteralString) -> None:
        session.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS " + allowed).format(
                sql.Identifier(self.name)
            )
        )

    def undo_loss(self, work: Work) -> Loss | None:
        """Count the rows that are in it by now."""
        return loss_of(find_rows(targets.load(work.target)))


def _end_others(session: Connection, name: str, ours: int) -> None:
    """End every session in a database that lets nobody in any more, but one.

    Raises:
        Transient: One did not end.
    """
    give_up = time.monotonic() + _ENDED_WITHIN_SECONDS
    while session.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = %s AND pid <> %s AND backend_type = 'client backend'""",
        (name, ours),
    ).fetchall():
        if time.monotonic() > give_up:
            raise Transient(
                expected=f"the sessions in {name} to end.",
                found="one does not.",
                state=f"{name} is as it was, and lets everybody in.",
                todo="Stop the application, then try again.",
            )
        time.sleep(0.05)


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
        seen = f"schema revision {now or 'none'}"
        if now == self.after:
            return Observed(Standing.AFTER, seen)
        ours = now == self.before or not work.is_to_begin  # cut off on its way
        return Observed(Standing.BEFORE if ours else Standing.OTHER, seen)

    def apply(self, work: Work) -> str:
        """Migrate, if still no user's row is in it.

        Raises:
            PreconditionFailed: Rows came meanwhile, or a migration failed.
        """
        system = targets.load(work.target)
        with system.database.connect() as session:
            now = read_revision(session, settings_of(system).version_table)
        if now == self.before:  # else it is ours that was cut off, and may have written rows
            insist_on_no_rows(system)
        command = [part.replace("{revision}", self.after) for part in settings_of(system).upgrade]
        done = system.application.run(command, {})
        if done.status:
            raise PreconditionFailed(
                expected=f"`{' '.join(command)}` to bring {self.database} to {self.after}.",
                found=f"status {done.status}: "
                f"{what_it_said(done, (), system.application.settings())}",
                state="No user's row was in the database before it.",
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
