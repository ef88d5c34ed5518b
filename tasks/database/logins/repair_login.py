"""Let a role log in again with the password that the application has."""

from typing import ClassVar, LiteralString

from psycopg import sql

from tasks.application.login import LoginVariables
from tasks.database.logins.roles import connect_for_roles, find_role, may_log_in
from tasks.database.logins.tries import Wrong
from tasks.database.logins.verifiers import digest, read_verifier
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import System
from tasks.platforms.scram import scram_verifier


class RepairLogin(Change):
    """Let a role log in again.

    Args:
        role: The role.
        database: Name of the database.
        wrong: What is mended of it: closed, expired, no_connect, password.
        expires: When its password ceased to be valid; '' for never.
        variables: Names of the application's settings, where its password is.
        secret: Name of the secret with the password that it gets; '' for the application's.
        keep: Under this name, with `-verifier` behind it, the old verifier is kept as a secret.
        before: The sha256 of the verifier that it had, '' where unknown.
    """

    kind: ClassVar[str] = "database.repair_login"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:SUPERUSER", "secrets:write")

    role: str
    database: str
    wrong: tuple[Wrong, ...]
    expires: str = ""
    variables: LoginVariables
    secret: str = ""
    keep: str
    before: str = ""

    @property
    def title(self) -> str:
        """What the change does."""
        what = {
            Wrong.CLOSED: "LOGIN",
            Wrong.EXPIRED: "a password that stays valid",
            Wrong.NO_CONNECT: f"CONNECT to {self.database}",
            Wrong.PASSWORD: "a new password" if self.secret else "the application's password",
        }
        return f"give role {self.role} {', '.join(what[one] for one in self.wrong)}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"role {self.role}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.role}: {', '.join(self.wrong)}", f"{self.role} logs in to {self.database}"

    def observe(self, work: Work) -> Observed:
        """Look at each thing that is mended."""
        system = targets.load(work.target)
        with connect_for_roles(system.database) as session:
            role = find_role(session, self.role)
            row = (
                session.execute(
                    "SELECT has_database_privilege(%s::name, %s, 'CONNECT') AS may",
                    (self.role, self.database),
                ).fetchone()
                if role
                else None
            )
        if role is None:
            return Observed(Standing.OTHER, f"there is no role {self.role}")
        kept = system.secrets.read(self._kept)
        verifier = read_verifier(system.database, self.role) or ""
        mended = {
            Wrong.CLOSED: role.logs_in,
            Wrong.EXPIRED: not role.expired,
            Wrong.NO_CONNECT: bool(row and row["may"]),
            Wrong.PASSWORD: kept is not None and verifier == kept["new"],
        }
        if Wrong.PASSWORD in self.wrong and kept and verifier not in kept.values():
            return Observed(Standing.OTHER, f"{self.role} has got another password since")
        if Wrong.PASSWORD in self.wrong and not kept and self._has_another(work, verifier):
            return Observed(Standing.OTHER, f"{self.role} has got another password since")
        left = [one for one in self.wrong if not mended[one]]
        if not left:
            return Observed(Standing.AFTER, f"{self.role} has it")
        # What is kept is still to be put back, or was just kept: neither is the beginning.
        begins = len(left) == len(self.wrong) and not (work.begun_at and kept)
        standing = Standing.BEFORE if begins else Standing.HALF
        return Observed(standing, f"{self.role}: {', '.join(left)}")

    def _has_another(self, work: Work, verifier: str) -> bool:
        return bool(self.before) and work.is_to_begin and digest(verifier) != self.before

    def apply(self, work: Work) -> None:
        """Mend it in one transaction, then log in."""
        system = targets.load(work.target)
        password = self._password(system)
        if password is None:
            raise PreconditionFailed(
                expected="the password that the role shall get.",
                found="none among the target's secrets.",
                todo="Run the remediation again.",
            )
        with connect_for_roles(system.database) as session:
            new = scram_verifier(session, self.role, password)
        old = read_verifier(system.database, self.role) or ""
        system.secrets.keep(self._kept, {"old": old, "new": new})
        kept = system.secrets.read(self._kept) or {"new": new}  # of an earlier attempt, maybe
        pieces: dict[Wrong, sql.Composable] = {
            Wrong.CLOSED: sql.SQL("LOGIN"),
            Wrong.EXPIRED: sql.SQL("VALID UNTIL 'infinity'"),
            Wrong.PASSWORD: sql.SQL("PASSWORD {}").format(sql.Literal(kept["new"])),
        }
        self._alter(system, pieces, "GRANT CONNECT ON DATABASE {} TO {}")
        if why := may_log_in(system.database, self.role, password):
            raise PreconditionFailed(
                expected=f"{self.role} to log in to {self.database}.",
                found=why,
                state="The role is changed, and goes back with the undo.",
                todo="Look at pg_hba.conf and the limits of sessions.",
            )

    def revert(self, work: Work) -> None:
        """Take it back; the old verifier stands there again."""
        system = targets.load(work.target)
        kept = system.secrets.read(self._kept)
        old: dict[Wrong, sql.Composable] = {
            Wrong.CLOSED: sql.SQL("NOLOGIN"),
            Wrong.EXPIRED: sql.SQL("VALID UNTIL {}").format(sql.Literal(self.expires)),
        }
        if kept is not None:
            verifier = sql.Literal(kept["old"] or None)
            old[Wrong.PASSWORD] = sql.SQL("PASSWORD {}").format(verifier)
        self._alter(system, old, "REVOKE CONNECT ON DATABASE {} FROM {}")
        system.secrets.forget(self._kept)

    def _alter(
        self, system: System, pieces: dict[Wrong, sql.Composable], right: LiteralString
    ) -> None:
        role = sql.Identifier(self.role)
        wanted = [pieces[one] for one in self.wrong if one in pieces]
        with connect_for_roles(system.database) as session, session.transaction():
            if wanted:
                session.execute(sql.SQL("ALTER ROLE {} {}").format(role, sql.SQL(" ").join(wanted)))
            if Wrong.NO_CONNECT in self.wrong:
                session.execute(sql.SQL(right).format(sql.Identifier(self.database), role))

    def _password(self, system: System) -> str | None:
        if self.secret:
            return (system.secrets.read(self.secret) or {}).get("password")
        return system.application.settings().get(self.variables.password)

    @property
    def _kept(self) -> str:
        return f"{self.keep}-verifier"
