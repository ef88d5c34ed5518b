"""The end of a role's log-ins, once nobody uses them."""

import time
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import elsewhere
from tasks.database.logins.roles import connect_for_roles, find_role, find_sessions, may_log_in
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_LEAVE_WITHIN_SECONDS = 15.0


class EndLogins(Change):
    """Let a role log in no more; it keeps its rights, its objects and its password.

    Args:
        role: The role.
        before: Name of the secret with the settings that the application had before.
        variable: Name of the setting with its password.
    """

    kind: ClassVar[str] = "database.end_logins"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:CREATEROLE",)

    needs: tuple[str, ...] = ("application.change_settings",)
    role: str
    before: str
    variable: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"let role {self.role} log in no more"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"role {self.role}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.role} logs in with the old password", f"{self.role} is NOLOGIN"

    def observe(self, work: Work) -> Observed:
        """Look it up."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            role, there = find_role(session, self.role), find_sessions(session, self.role)
        if role is None:
            return Observed(Standing.OTHER, f"there is no role {self.role}")
        if role.logs_in:
            return Observed(Standing.BEFORE, f"{self.role} can log in")
        if there:  # whoever closed it died before it looked who had come in between
            many = counted(sum(one.count for one in there), "session")
            return Observed(Standing.HALF, f"{self.role} cannot log in, and {many} of it go on")
        return Observed(Standing.AFTER, f"{self.role} cannot log in")

    def apply(self, work: Work) -> None:
        """Wait until nobody is logged in as it, then close it; opened again for a newcomer."""
        database = targets.load(work.target).database
        with connect_for_roles(database) as session:
            try:
                self._await_leave(session)
                self._let(session, "NOLOGIN")
                faults.point(f"{self.kind}:closed")
                self._await_leave(session, seconds=0)  # who came in between
            except RemediationError:
                self._let(session, "LOGIN")
                raise

    def revert(self, work: Work) -> None:
        """Let it log in again, and see that it does: the application goes back to it next."""
        system = targets.load(work.target)
        with connect_for_roles(system.database) as session:
            self._let(session, "LOGIN")
        password = (system.secrets.read(self.before) or {}).get(self.variable)
        if password and (why := may_log_in(system.database, self.role, password)):
            raise PreconditionFailed(
                expected=f"{self.role} to log in with the password that the application had.",
                found=why,
                state="The application serves with its new login.",
                todo=f"Set that password for {self.role} again, or leave the application as it is.",
            )

    def _await_leave(self, session: Connection, seconds: float = _LEAVE_WITHIN_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while there := find_sessions(session, self.role):
            if time.monotonic() >= deadline:
                shown = "; ".join(
                    f"{one.count} of {one.program} from {one.address} in {one.database}"
                    for one in there
                )
                raise PreconditionFailed(
                    expected=f"nobody to be logged in as {self.role} any more.",
                    found=f"sessions that are not the application's: {shown}.",
                    state=f"{self.role} can log in as before.",
                    todo="Move these clients to a login of their own, then run again.",
                )
            time.sleep(0.1)

    def _let(self, session: Connection, what: str) -> None:
        session.execute(
            sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(self.role), sql.SQL(what))
        )
