"""The patience with which a migration waits for locks, and the proof that it has taken effect.

Sources: PostgreSQL manual 34.15 (PGOPTIONS), 20.11 (lock_timeout).
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from psycopg import sql

from tasks.database.schema.output import failed_for_a_lock, what_it_said
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.protocols import Database, System

LOCK_TIMEOUT = "300ms"
_CHECK_INTERVAL_SINCE = 140000
# A migration of a big application takes that long to start, at most.
_PROOF_SECONDS = 60.0


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
        Transient: The version table is in use: somebody migrates, or takes a backup.
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
        waited = threading.Event()

        def let_go() -> None:
            waited.set()
            with suppress(RemediationError):
                session.rollback()

        bell = threading.Timer(_PROOF_SECONDS, let_go)
        bell.start()
        try:
            done = system.application.run(command, environment)
        finally:
            bell.cancel()
        session.rollback()
    if failed_for_a_lock(done) and not waited.is_set():
        return
    raise PreconditionFailed(
        expected=f"a migration that gives up after {LOCK_TIMEOUT} on a lock in {name}.",
        found=f"it waited {_PROOF_SECONDS:.0f} s for it: PGOPTIONS has no effect."
        if waited.is_set()
        else f"with its version table locked it ended with status {done.status}: "
        f"{what_it_said(done, (), system.application.settings())}",
        state="Nothing was migrated.",
        todo="Let the application take PGOPTIONS (a pooler in between drops it; options in its "
        "own connect_args replace it), and lead to this database.",
    )


def server_version(database: Database) -> int:
    """Ask the server for its version number."""
    with database.connect(database.maintenance_database) as session:
        return session.info.server_version
