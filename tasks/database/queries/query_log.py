"""Having a server log its slow statements for a while, and exactly as before afterwards.

ALTER SYSTEM and a reload: nothing is restarted, and sessions that are open log as well. What is
set for a database or a role would reach new sessions only, and an application keeps its own open.
"""

import time
from datetime import UTC, datetime
from typing import ClassVar

from psycopg import sql

from tasks.database.disk import DISK_RESERVE
from tasks.database.queries.log_place import LogPlace, free_for_log
from tasks.database.queries.log_setting import SETTING, LogSetting, inspect_log_setting
from tasks.database.reporting import Reporter
from tasks.guardrails import faults
from tasks.guardrails.errors import Transient, WorldMoved
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database

_LOADED_SECONDS = 10.0
_AGAIN_SECONDS = 0.05
_LOOK_SECONDS = 0.5


class _OfLogging(Change):
    """A change of the setting in postgresql.auto.conf.

    Args:
        slower_than_ms: Statements that take longer are logged, in milliseconds.
        before: Value in postgresql.auto.conf before; None where it was not set there.
    """

    permissions: ClassVar[tuple[str, ...]] = (
        f"postgresql:ALTER SYSTEM ON PARAMETER {SETTING}",
        "postgresql:EXECUTE ON FUNCTION pg_reload_conf()",
        "postgresql:SELECT ON pg_file_settings",
    )

    slower_than_ms: int
    before: str | None

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"setting {SETTING}",)

    @property
    def _logging(self) -> str:
        return str(self.slower_than_ms)

    def _stand(self, work: Work, goal: str | None) -> Observed:
        """See how the setting stands towards a value that it shall have."""
        with targets.load(work.target).database.connect() as session:
            now = inspect_log_setting(session)
        seen = _words(now)
        if now.written not in {self.before, self._logging}:
            return Observed(Standing.OTHER, seen)
        if not now.is_loaded and work.begun_at is not None:
            return Observed(Standing.HALF, f"{seen}; what is written is not in force")
        return Observed(Standing.AFTER if now.written == goal else Standing.BEFORE, seen)

    def _insist_on_ours(self, database: Database) -> None:
        """Make sure that what is written is ours or what was there before, and nobody else's.

        Raises:
            WorldMoved: Somebody has written another value.
        """
        now = _inspect(database)
        if now.written not in {self.before, self._logging}:
            raise WorldMoved(
                expected=f"{SETTING} as this remediation wrote it ({self._logging}), or as it was "
                f"before ({_named(self.before)}).",
                found=f"somebody has written another value meanwhile: {_words(now)}.",
                state="That value stands, and is left as it is.",
                todo="Find out whose value it is. Before this remediation it was "
                f"{_named(self.before)} in postgresql.auto.conf.",
            )

    def _set(self, database: Database, value: str | None) -> None:
        """Write a value, have it loaded, and wait until new sessions have it.

        Raises:
            Transient: The server does not load it.
        """
        name = sql.Identifier(SETTING)
        with database.connect() as session:
            if value is None:
                session.execute(sql.SQL("ALTER SYSTEM RESET {}").format(name))
            else:
                session.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(name, sql.Literal(value))
                )
            faults.point(f"{self.kind}:written")
            session.execute("SELECT pg_reload_conf()")
        give_up = time.monotonic() + _LOADED_SECONDS
        while not (now := _inspect(database)).is_loaded:
            if time.monotonic() > give_up:
                raise Transient(
                    expected=f"the server to load {SETTING} after pg_reload_conf().",
                    found=f"{_words(now)}.",
                    state="It is written, and will be in force when the server loads its files.",
                    todo="Look at the server's log for what it says of its configuration files.",
                )
            time.sleep(_AGAIN_SECONDS)


def _inspect(database: Database) -> LogSetting:
    with database.connect() as session:  # what is in force for a new one
        return inspect_log_setting(session)


def _words(setting: LogSetting) -> str:
    return (
        f"{SETTING} is {_named(setting.written)} in postgresql.auto.conf, "
        f"{setting.in_force:,.0f} in force"
    )


def _named(value: str | None) -> str:
    return "not set" if value is None else value


class LogSlowStatements(_OfLogging):
    """Have the server log every statement that takes longer, at once and in all sessions.

    Args:
        place: Where the log is, and how far it goes now.
    """

    kind: ClassVar[str] = "database.log_slow_statements"

    place: LogPlace

    @property
    def title(self) -> str:
        """What the change does."""
        return f"log statements that take longer than {self.slower_than_ms:,} ms"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{SETTING} {_named(self.before)} in postgresql.auto.conf", self._logging

    def observe(self, work: Work) -> Observed:
        """Read the files and what is in force."""
        return self._stand(work, self._logging)

    def apply(self, work: Work) -> None:
        """Write it, and have it loaded."""
        self._set(targets.load(work.target).database, self._logging)

    def revert(self, work: Work) -> None:
        """Put back exactly what was written before.

        Raises:
            WorldMoved: Somebody has written another value since: that one stays.
        """
        database = targets.load(work.target).database
        self._insist_on_ours(database)
        self._set(database, self.before)


class StopLogging(_OfLogging):
    """Wait until the time is over, and put back exactly what was written before.

    Args:
        seconds: How long is logged, counted from when this was begun.
        place: Where the log is: that disk is looked at as well.
    """

    kind: ClassVar[str] = "database.stop_logging"
    reverts: ClassVar[Reverts] = "pointless"  # nobody wants the log again

    needs: tuple[str, ...] = (LogSlowStatements.kind,)
    seconds: int
    place: LogPlace | None = None

    @property
    def title(self) -> str:
        """What the change does."""
        return f"wait {self.seconds:,} s, then stop logging them"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return self._logging, f"{SETTING} {_named(self.before)} in postgresql.auto.conf"

    def observe(self, work: Work) -> Observed:
        """Read the files and what is in force."""
        return self._stand(work, self.before)

    def apply(self, work: Work) -> str:
        """Wait for what is left of the time, then put it back.

        Raises:
            WorldMoved: Somebody has written another value meanwhile: that one stays.
        """
        database = targets.load(work.target).database
        note = self._wait(database, work)
        self._insist_on_ours(database)
        self._set(database, self.before)
        return note

    def _wait(self, database: Database, work: Work) -> str:
        reporter = Reporter(work)
        begun = work.begun_at or datetime.now(UTC)
        while (gone := (datetime.now(UTC) - begun).total_seconds()) < self.seconds:
            known = [one for one in free_for_log(database, self.place) if one is not None]
            if known and (free := min(known)) < DISK_RESERVE:
                return f"stopped after {gone:.0f} s: {free / 1e6:.0f} MB free on the server's disk"
            reporter.tell(gone / self.seconds, f"logging for {self.seconds - gone:.0f} s more")
            time.sleep(min(_LOOK_SECONDS, max(0.0, self.seconds - gone)))
        return f"logged for {self.seconds:,} s"
