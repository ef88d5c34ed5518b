"""Keep writers out of a database while it is restored, so that no acknowledged write is lost."""

import time
from datetime import datetime
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import elsewhere, name_of
from tasks.database.copies.settings import READ_ONLY, inspect_settings
from tasks.database.sessions import end_sessions
from tasks.guardrails import faults
from tasks.guardrails.errors import Transient
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_GONE_SECONDS = 5.0
_AGAIN_SECONDS = 0.02


class SetReadOnly(Change):
    """Make new transactions in the live database read-only, and let its sessions begin anew.

    Args:
        live: Name of the live database.
        live_oid: Its OID: the setting follows it through a cut-over.
        before: The database's own setting before, '' where there was none.
    """

    kind: ClassVar[str] = "database.set_read_only"
    permissions: ClassVar[tuple[str, ...]] = (
        "postgresql:MEMBER OF owner",
        "postgresql:pg_signal_backend",
    )

    live: str
    live_oid: int
    before: str = ""

    @property
    def title(self) -> str:
        """What the change does."""
        return f"make {self.live} read-only"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.live}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{READ_ONLY} {self.before or 'not set'}", f"{READ_ONLY} on; its sessions end once"

    def observe(self, work: Work) -> Observed:
        """Read the database's own setting."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            name = name_of(session, self.live_oid)
            now = self._now(session, name)
            older = self._older_sessions(session, work.begun_at)
        if not name:
            return Observed(Standing.OTHER, f"the database with OID {self.live_oid} is gone")
        if now == "on" and older:
            return Observed(Standing.HALF, f"{name}: on, but {older} sessions are older than it")
        if now == self._passing and work.begun_at:
            return Observed(Standing.HALF, f"{name}: {READ_ONLY} is {now} while its sessions end")
        if now == "on":
            return Observed(Standing.AFTER, f"{name}: {READ_ONLY} is on")
        if now == self.before:
            return Observed(Standing.BEFORE, f"{name}: {READ_ONLY} is {now or 'not set'}")
        return Observed(Standing.OTHER, f"{name}: {READ_ONLY} is {now}")

    def apply(self, work: Work) -> None:
        """Set it, and end the sessions that would not read it otherwise."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            if name := name_of(session, self.live_oid):
                self._set(session, name, "on")
                self._end_older_sessions(session, name)

    def revert(self, work: Work) -> None:
        """Set what was there before, on the database itself, whatever its name is now.

        First another value that lets writers in, then the sessions end that began read-only,
        then what was there before: killed in between, it is seen that they may not have ended.
        """
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            if name := name_of(session, self.live_oid):
                self._set(session, name, self._passing)
                faults.point("database.set_read_only:lifted")
                self._end_older_sessions(session, name)
                self._set(session, name, self.before)

    def _end_older_sessions(self, session: Connection, name: str) -> None:
        """End the sessions that have not read what was set just now, and wait until they have."""
        row = session.execute("SELECT clock_timestamp() AS now").fetchone() or {}
        give_up = time.monotonic() + _GONE_SECONDS
        while left := self._older_sessions(session, row["now"]):
            if time.monotonic() > give_up:
                raise Transient(
                    expected=f"the sessions of {name} to end that began before it was set.",
                    found=f"{left} of them stay.",
                    state="New sessions have read what was set.",
                    todo="End them on the server (pg_terminate_backend).",
                )
            end_sessions(session, self.live_oid, row["now"])
            time.sleep(_AGAIN_SECONDS)

    @property
    def _passing(self) -> str:
        """A value that lets writers in, and is told apart from the one before."""
        return "false" if self.before == "off" else "off"

    def _set(self, session: Connection, name: str, value: str) -> None:
        what = sql.SQL("SET {} = {}" if value else "RESET {}")
        setting = sql.Identifier(READ_ONLY)
        session.execute(
            sql.SQL("ALTER DATABASE {} {}").format(
                sql.Identifier(name), what.format(*((setting, value) if value else (setting,)))
            )
        )

    def _older_sessions(self, session: Connection, moment: datetime | None) -> int:
        """Count sessions that began before a moment: they have not read what was set then.

        A superuser's that we may not end is an administrator's, who may write anyway.
        """
        row = session.execute(
            """SELECT count(*) AS n FROM pg_stat_activity WHERE datid = %s
               AND backend_type = 'client backend' AND backend_start < %s
               AND (NOT (SELECT rolsuper FROM pg_roles WHERE oid = usesysid)
                    OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))""",
            (self.live_oid, moment),
        ).fetchone()
        return int(row["n"]) if row else 0

    @staticmethod
    def _now(session: Connection, name: str) -> str:
        settings = inspect_settings(session, name).settings
        return next((v for role, n, v in settings if n == READ_ONLY and not role), "")
