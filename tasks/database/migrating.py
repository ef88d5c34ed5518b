"""Bring the copy to the schema that the running application expects, by its own migrations."""

import secrets
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import elsewhere, find_database
from tasks.database.marks import Mark, read_mark, write_mark
from tasks.database.ownership import give_all_to
from tasks.database.revision import read_revision
from tasks.database.rights import Rights
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database, MigrationSettings, System

_DONE = {"migrated", "frozen", "kept", "undone"}
_TAIL = 1500


class MigrateSideDatabase(Change):
    """Run the application's migrations against the copy, as a role that has no right in live.

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
            there = _role_exists(session, self._role(work))
        if facts is None:  # it goes with the copy
            standing = Standing.HALF if there else Standing.BEFORE
            return Observed(standing, f"there is no {self.side}, {'a' if there else 'no'} role")
        mark = read_mark(facts.comment)
        if there:
            return Observed(Standing.HALF, f"the role {self._role(work)} is still there")
        if mark and mark.state in _DONE:
            return Observed(Standing.AFTER, f"{self.side} is {mark.state}")
        return Observed(Standing.BEFORE, f"{self.side} is {mark.state if mark else 'not ours'}")

    def apply(self, work: Work) -> str:
        """Migrate as a role made for it, prove where it lands first, give the copy back."""
        system = targets.load(work.target)
        database, settings = system.database, _settings(system)
        password = secrets.token_urlsafe(24)
        role = self._role(work)
        try:
            self._prepare(database, role, password)
            environment = _environment(database, settings, self.side, role, password)
            _insist_on(system, settings, environment, self.side)
            command = [part.replace("{revision}", self.after) for part in settings.upgrade]
            done = system.application.run(command, environment)
            output = f"{done.output[-_TAIL:]}{done.errors[-_TAIL:]}".strip()
            if done.status != 0:
                raise PreconditionFailed(
                    expected=f"{' '.join(command)} to bring {self.side} to {self.after}.",
                    found=f"status {done.status}: {output}",
                    state="The live database is untouched; the copy goes with the undo.",
                    todo="Choose a backup of the present schema, or correct the migration.",
                )
        finally:
            self._clear(database, role)
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
        self._clear(database, self._role(work))
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

    @staticmethod
    def _role(work: Work) -> str:
        return f"remedy_{work.remediation}"

    def _prepare(self, database: Database, role: str, password: str) -> None:
        self._clear(database, role)
        with database.connect(elsewhere(database)) as session:
            # Hashed here: the password itself reaches neither the server's log nor its views.
            verifier = session.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            ).decode()
            session.execute(
                sql.SQL("CREATE ROLE {} LOGIN NOINHERIT CONNECTION LIMIT 5 PASSWORD {}").format(
                    sql.Identifier(role), verifier
                )
            )
            session.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
            session.execute(
                sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(
                    sql.Identifier(self.side), sql.Identifier(role)
                )
            )
        with database.connect(self.side) as session:
            give_all_to(session, self.owner, role)
        with database.connect(self.live) as session:
            row = session.execute(
                """SELECT count(*) AS n FROM pg_class WHERE relkind IN ('r', 'p', 'S', 'v', 'm')
                   AND relnamespace <> 'pg_catalog'::regnamespace
                   AND relnamespace <> 'information_schema'::regnamespace
                   AND (has_table_privilege(%(role)s, oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                        OR pg_has_role(%(role)s, relowner, 'MEMBER'))""",
                {"role": role},
            ).fetchone()
        if row and row["n"]:
            raise PreconditionFailed(
                expected=f"a role without any right to write in {self.live}.",
                found=f"everybody (PUBLIC) may write to {row['n']} of its relations.",
                state="The live database is untouched.",
                todo=f"REVOKE those rights from PUBLIC in {self.live}, then run again.",
            )

    def _clear(self, database: Database, role: str) -> None:
        with database.connect(elsewhere(database)) as session:
            if not _role_exists(session, role):
                return
            if find_database(session, self.side):
                session.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                    (role,),
                )
                with database.connect(self.side) as inside:
                    give_all_to(inside, role, self.owner)
                session.execute(
                    sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(
                        sql.Identifier(self.side), sql.Identifier(role)
                    )
                )
            session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))

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


def require_migration(system: System, rights: Rights, backup: str, live: str) -> None:
    """Refuse a backup of another schema where its migration could not be carried out.

    Args:
        system: The target.
        rights: What the maintenance user may do.
        backup: Revision of the backup's schema.
        live: Revision of live's schema.

    Raises:
        PreconditionFailed: A right or a setting is missing.
    """
    settings = _settings(system)
    missing = []
    if not rights.may_create_roles:
        missing.append(f"CREATEROLE for {rights.user}, to run them without any right in live")
    if not settings.show_database:
        missing.append("`migrations.show_database` in the target, to prove where they land")
    if missing:
        raise PreconditionFailed(
            expected=f"to bring the backup's schema {backup} to live's {live} by migrations.",
            found=f"missing: {'; '.join(missing)}.",
            todo="Give what is missing, or choose a backup of the present schema.",
        )


def _role_exists(session: Connection, role: str) -> bool:
    row = session.execute("SELECT 1 AS one FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    return row is not None


def _settings(system: System) -> MigrationSettings:
    if system.migrations is None:
        raise PreconditionFailed(
            expected="to know how the application migrates its schema.",
            found="the target does not say.",
            todo="Add `migrations` to the target, or choose a backup of the present schema.",
        )
    return system.migrations


def _environment(
    database: Database, settings: MigrationSettings, side: str, role: str, password: str
) -> dict[str, str]:
    address = database.environment(side)
    known = {
        "{host}": address["PGHOST"],
        "{port}": address["PGPORT"],
        "{database}": side,
        "{user}": role,
        "{password}": password,
    }
    filled = {"PGAPPNAME": address["PGAPPNAME"]}
    for name, given in settings.environment.items():
        value = given
        for placeholder, text in known.items():
            value = value.replace(placeholder, text)
        filled[name] = value
    return filled


def _insist_on(
    system: System, settings: MigrationSettings, environment: dict[str, str], side: str
) -> None:
    """Prove that the application, so configured, speaks to the copy and not to live."""
    if not settings.show_database:
        raise PreconditionFailed(
            expected="a command that shows which database the application's settings lead to.",
            found="the target does not name one.",
            todo="Add `migrations.show_database` to the target.",
        )
    shown = system.application.run(settings.show_database, environment)
    if shown.status != 0 or shown.output.strip() != side:
        raise PreconditionFailed(
            expected=f"the application to speak to {side} with the settings given.",
            found=f"{' '.join(settings.show_database)} gave {shown.output.strip()!r}, "
            f"status {shown.status} {shown.errors[-300:].strip()}",
            state="No migration was run.",
            todo="Correct `migrations.environment` of the target.",
        )
