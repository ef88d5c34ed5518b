"""The patience with which a migration waits for locks, and the proof that it has taken effect.

Sources: PostgreSQL manual 34.15 (PGOPTIONS), 20.11 (lock_timeout).
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from psycopg import sql

from tasks.database.looking import Looking
from tasks.database.schema.output import failed_for_a_lock, what_it_said
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.protocols import Connection, Database, System

LOCK_TIMEOUT = "300ms"
_CHECK_INTERVAL_SINCE = 140000
# A migration of a big application takes that long to start, at most.
_PROOF_SECONDS = 60.0
# What waits for longer on a busy machine has not LOCK_TIMEOUT, but another one or none.
_LONGEST_WAIT_SECONDS, _LOOK_SECONDS = 2.0, 0.05
_WAITING = b"""
    SELECT pid FROM pg_locks WHERE NOT granted AND relation = %(table)s::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def options(
    version: int, statement_seconds: float, given: str = "", lock_timeout: str = LOCK_TIMEOUT
) -> str:
    """Give PGOPTIONS for a migration, behind those that the application sets itself.

    Args:
        version: The server's version number.
        statement_seconds: How long a statement may take; 0 for as long as it likes.
        given: What the application's own settings have.
        lock_timeout: How long it waits for a lock; '0' for as long as it takes.

    Returns:
        The value of PGOPTIONS.
    """
    settings = {
        "lock_timeout": lock_timeout,
        "statement_timeout": f"{int(statement_seconds * 1000)}",
    }
    if version >= _CHECK_INTERVAL_SINCE:  # else what a killed migration runs, runs on
        settings["client_connection_check_interval"] = "1s"
    return " ".join([given, *(f"-c {name}={value}" for name, value in settings.items())]).strip()


def prove_lock_timeout(
    system: System,
    command: Sequence[str],
    name: str,
    table: str,
    environment: Mapping[str, str],
) -> None:
    """Prove that a migration, so started, reaches a database and gives up on a lock there.

    The version table, which only migrations read, is locked, and the application is told to
    migrate to where the database stands already: it has to fail for the lock.

    Args:
        system: The target.
        command: Brings that database to where it stands.
        name: Name of the database that it has to reach.
        table: Its version table, quoted with its schema.
        environment: The variables that the migration will have.

    Raises:
        Transient: The version table is in use: somebody migrates, or takes a backup; or it
            could not be seen how long the migration waits.
        PreconditionFailed: The setting has no effect, or the application leads elsewhere.
    """
    database = system.database
    with database.connect(name, autocommit=False, lock_timeout=LOCK_TIMEOUT) as session:
        try:
            session.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(table))
            )
        except Transient as error:
            raise Transient(
                expected=f"nobody to use {table}.",
                found=f"it is in use: somebody migrates, or takes a backup. {error.found}",
                todo="Wait until that has ended.",
            ) from error
        with _Waiting(session, table) as waiting:
            done = system.application.run(command, environment)
        with suppress(RemediationError):
            session.rollback()
    if waiting.failure:
        raise Transient(
            expected=f"to see how long a migration waits for a lock in {name}.",
            found=waiting.failure,
            state="Nothing was migrated.",
            todo="Run it again.",
        )
    if failed_for_a_lock(done) and not waiting.too_long:
        return
    raise PreconditionFailed(
        expected=f"a migration that gives up after {LOCK_TIMEOUT} on a lock in {name}.",
        found=f"it waited for more than {_LONGEST_WAIT_SECONDS:g} s: PGOPTIONS has no effect."
        if waiting.too_long
        else f"with its version table locked it ended with status {done.status}: "
        f"{what_it_said(done, (), system.application.settings())}",
        state="Nothing was migrated.",
        todo="Let the application take PGOPTIONS (a pooler in between drops it; options in its "
        "own connect_args replace it), and lead to this database.",
    )


class _Waiting(Looking):
    """Looks at who waits for a table that is locked, and lets go of it after too long."""

    def __init__(self, session: Connection, table: str) -> None:
        """Take the session that has it locked, and the table's name, quoted."""
        super().__init__()
        self._session, self._table = session, table
        self.too_long, self.failure = False, ""

    def run(self) -> None:
        """Look until the block has ended, or it is known that somebody waits too long."""
        since: dict[int, float] = {}
        began = time.monotonic()
        try:
            while not self.ended.wait(_LOOK_SECONDS) and not self.too_long and not self.failure:
                rows = self._session.execute(_WAITING, {"table": self._table}).fetchall()
                now = time.monotonic()
                since = {row["pid"]: since.get(row["pid"], now) for row in rows}
                longest = max((now - one for one in since.values()), default=0.0)
                self.too_long = longest > _LONGEST_WAIT_SECONDS
                if now - began > _PROOF_SECONDS:
                    self.failure = f"it had not ended after {_PROOF_SECONDS:.0f} s."
        except Exception as error:  # noqa: BLE001 - a thread's own would be lost
            said = error.found if isinstance(error, RemediationError) else ""
            self.failure = said or f"{type(error).__name__}: {error}"
        if self.too_long or self.failure:  # who still waits would do so for ever
            with suppress(RemediationError):
                self._session.rollback()


def server_version(database: Database) -> int:
    """Ask the server for its version number."""
    with database.connect(database.maintenance_database) as session:
        return session.info.server_version
