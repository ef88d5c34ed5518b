"""A second role that works as the first one does.

Passwords go to the server as verifiers that are computed here: neither its log nor
pg_stat_statements sees one. Source: PostgreSQL manual, PQencryptPasswordConn; ALTER ROLE.
"""

import re
from contextlib import closing
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import elsewhere
from tasks.database.logins.roles import (
    Role,
    connect_for_roles,
    find_own_settings,
    find_role,
    find_settings,
    may_log_in,
    owns_something,
)
from tasks.database.logins.verifiers import read_verifier
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database
from tasks.platforms.scram import scram_verifier

_COMMENT = re.compile(r"remedy (?P<remediation>\S+): alternate login of (?P<owner>.*)", re.DOTALL)


def owner_of(role: Role) -> str:
    """Give the role that an alternate login of ours stands for, '' where it is none."""
    found = _COMMENT.fullmatch(role.comment)
    return found["owner"] if found else ""


class CreateAlternateLogin(Change):
    """Let a second role log in that has all rights of the first one, by becoming it.

    Args:
        role: The second role.
        owner: The first one, which owns what the application uses.
        secret: Name of the secret with its password.
        existed: Whether an earlier rotation has made it: it cannot log in now. Its attributes
            and settings become the first one's, and stay so in an undo, which closes it.
        attributes: Attributes that it is given, as the first one has them.
        connection_limit: As the first one's.
        settings: What is set for the first one at log-in: database ('' for all), 'name=value'.
    """

    kind: ClassVar[str] = "database.create_alternate_login"
    permissions: ClassVar[tuple[str, ...]] = (
        "postgresql:CREATEROLE",
        "postgresql:ADMIN OPTION on owner",
        "secrets:read",
    )

    needs: tuple[str, ...] = ("secrets.generate_password",)
    role: str
    owner: str
    secret: str
    existed: bool
    attributes: tuple[str, ...] = ()
    connection_limit: int = -1
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """What the change does."""
        like = f", which works as {self.owner}" if self.role != self.owner else ""
        return f"let role {self.role} log in{like}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"role {self.role}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        before = "cannot log in" if self.existed else "does not exist"
        return f"{self.role} {before}", f"{self.role} logs in with secret {self.secret}"

    def observe(self, work: Work) -> Observed:
        """Look it up, and try to log in where it may."""
        system = targets.load(work.target)
        with system.database.connect(elsewhere(system.database)) as session:
            role = find_role(session, self.role)
            if work.is_to_begin and not self._is_like_owner(session):
                return Observed(Standing.OTHER, f"what {self.owner} has was changed since the plan")
        if role is None:
            gone = Standing.OTHER if self.existed else Standing.BEFORE
            return Observed(gone, f"there is no role {self.role}")
        kept = system.secrets.read(self._kept) is not None
        if not self._is_ours(role, work.remediation):
            return Observed(Standing.OTHER, f"role {self.role} is none of this remediation's")
        if not role.logs_in:
            half = kept and work.begun_at  # kept from before, or still to be put back
            before = Standing.HALF if half else Standing.BEFORE
            return Observed(before if self.existed else Standing.OTHER, f"{self.role} is closed")
        password = (system.secrets.read(self.secret) or {}).get("password", "")
        why = may_log_in(system.database, self.role, password) if password else "no such secret"
        if why:
            theirs = self.existed and not kept  # somebody else has opened it
            standing = Standing.OTHER if theirs else Standing.HALF
            return Observed(standing, f"{self.role} may log in, with another password: {why}")
        return Observed(Standing.AFTER, f"{self.role} logs in")

    def _is_like_owner(self, session: Connection) -> bool:
        """Say whether what it is given is what the first one has now."""
        owner = find_role(session, self.owner)
        if owner is None or self.connection_limit != owner.connection_limit:
            return False
        same = self.role == self.owner or self.attributes == owner.attributes
        return same and self.settings == find_own_settings(session, self.owner)

    def _is_ours(self, role: Role, remediation: str) -> bool:
        """Say whether a role of the name is the one that this change makes, or opens."""
        if self.role == self.owner:
            return True
        found = _COMMENT.fullmatch(role.comment)
        if found is None or found["owner"] != self.owner:
            return False
        return self.existed or found["remediation"] == remediation

    def apply(self, work: Work) -> None:
        """Make it in one transaction, then log in as it."""
        system = targets.load(work.target)
        password = (system.secrets.read(self.secret) or {})["password"]
        database = system.database
        if self.existed:
            system.secrets.keep(self._kept, _look(database, self.role))
        with connect_for_roles(database) as session, session.transaction():
            self._define(session, password)
            if self.role != self.owner:
                self._become_owner(session, work.remediation)
        if why := may_log_in(database, self.role, password):
            raise PreconditionFailed(
                expected=f"role {self.role} to log in to {database.name}.",
                found=why,
                state="The application logs in as before.",
                todo=f"Let {self.role} in where {self.owner} is let in (pg_hba.conf, CONNECT).",
            )
        self._insist_on_owner(database, password)

    def revert(self, work: Work) -> None:
        """Drop it, or let it log in no more; a role that others have made is left alone."""
        system = targets.load(work.target)
        old = system.secrets.read(self._kept)
        with connect_for_roles(system.database) as session:
            role = find_role(session, self.role)
            ours = role and self._is_ours(role, work.remediation)
            if ours and not self.existed:
                self._drop(system.database, session)
            elif ours and old is not None:
                self._close(session, old)
        system.secrets.forget(self._kept)

    def _drop(self, database: Database, session: Connection) -> None:
        role, owner = sql.Identifier(self.role), sql.Identifier(self.owner)
        with database.connect() as within:
            if owns_something(within, self.role):  # it may have made something as itself
                within.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(role, owner))
        session.execute(sql.SQL("DROP ROLE {}").format(role))

    def _close(self, session: Connection, old: dict[str, str]) -> None:
        role = sql.Identifier(self.role)
        session.execute(
            sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD {} CONNECTION LIMIT {} VALID UNTIL {}").format(
                role,
                sql.Literal(old["verifier"] or None),
                sql.Literal(int(old["connection_limit"])),
                sql.Literal(old["expires"] or "infinity"),
            )
        )
        if self.role != self.owner:
            comment = sql.Literal(old["comment"])
            session.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(role, comment))

    @property
    def _kept(self) -> str:
        return f"{self.secret}-verifier"

    def _define(self, session: Connection, password: str) -> None:
        verb = "ALTER" if find_role(session, self.role) else "CREATE"
        session.execute(
            sql.SQL(
                "{} ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {} VALID UNTIL 'infinity'"
            ).format(
                sql.SQL(verb),
                sql.Identifier(self.role),
                sql.Literal(scram_verifier(session, self.role, password)),
                sql.Literal(self.connection_limit),
            )
        )

    def _become_owner(self, session: Connection, remediation: str) -> None:
        role, owner = sql.Identifier(self.role), sql.Identifier(self.owner)
        there = find_role(session, self.role)
        had = there.attributes if there else ()
        for word in sorted(set(had) ^ set(self.attributes)):  # an owner may have fewer by now
            said = sql.SQL(word if word in self.attributes else f"NO{word}")
            session.execute(sql.SQL("ALTER ROLE {} {}").format(role, said))
        for where in {database for database, _ in find_settings(session, self.role)}:
            session.execute(sql.SQL("ALTER ROLE {} {}RESET ALL").format(role, _within(where)))
        session.execute(sql.SQL("GRANT {} TO {}").format(owner, role))
        for database, setting in (*self.settings, ("", f"role={self.owner}")):
            name, _, value = setting.partition("=")
            what = sql.SQL("ALTER ROLE {} {}SET {} ").format(
                role, _within(database), sql.Identifier(*name.split("."))
            )
            if name == "role":
                session.execute(what + sql.SQL("TO {}").format(sql.Literal(value)))
                continue
            # Lists are kept as they are written; from our own session they are copied as such.
            session.execute("SELECT set_config(%s, %s, true)", (name, value))
            session.execute(what + sql.SQL("FROM CURRENT"))
        comment = f"remedy {remediation}: alternate login of {self.owner}"
        session.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(role, sql.Literal(comment)))

    def _insist_on_owner(self, database: Database, password: str) -> None:
        with closing(database.log_in(self.role, password)) as session:
            row = session.execute("SELECT current_user AS name").fetchone()
        if row is None or row["name"] != self.owner:
            raise PreconditionFailed(
                expected=f"{self.role} to work as {self.owner} once it has logged in.",
                found=f"it works as {row['name'] if row else 'nobody'}.",
                state="The application logs in as before.",
                todo=f"Look for a `role` set for {self.role} in {database.name} (\\drds).",
            )


def _within(database: str) -> sql.Composable:
    return sql.SQL("IN DATABASE {} ").format(sql.Identifier(database)) if database else sql.SQL("")


def _look(database: Database, role: str) -> dict[str, str]:
    """Give what a role has before it is opened; only a superuser sees the verifier."""
    with connect_for_roles(database) as session:
        found = find_role(session, role)
    if found is None:
        return {}
    return {
        "verifier": read_verifier(database, role) or "",
        "connection_limit": str(found.connection_limit),
        "expires": found.expires,
        "comment": found.comment,
    }
