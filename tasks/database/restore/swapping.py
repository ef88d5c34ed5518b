"""Two databases change names in one transaction, while nobody is in either."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg import sql

from tasks.database.catalogue import elsewhere, name_of
from tasks.database.sessions import Ender, wait_until_empty
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.protocols import Connection, Database, System

# RENAME waits 5 s for other sessions by itself and lock_timeout does not bound that.
_STATEMENT_MS = 250
_TRIES = 12
_BETWEEN_TRIES = 0.25
_PAUSE_SECONDS = 5.0


def swap(
    system: System, leaving: int, coming: int, steps: Callable[[int], list[sql.Composed]]
) -> float:
    """Run the renames in one transaction while nobody is in either database.

    Args:
        system: The target; its application is paused for the time where it can be.
        leaving: OID of the database that gives its name away.
        coming: OID of the database that takes it.
        steps: Gives the statements for the transaction's id; the first is the first RENAME.

    Returns:
        Seconds from the first session ended to the commit.

    Raises:
        PreconditionFailed: Somebody stayed in it through every attempt.
    """
    database = system.database
    failure, began = "", time.monotonic()
    with database.connect(elsewhere(database)) as session:
        before = name_of(session, leaving)
    for attempt in range(_TRIES):
        try:
            with (
                database.connect(elsewhere(database)) as session,
                Ender(database, leaving) as ender,
                _paused(system),
            ):
                return _attempt(session, ender, leaving, coming, steps)
        except Transient as error:
            failure = error.found
            if _is_swapped(database, leaving, coming, before):
                return time.monotonic() - began  # the answer to the COMMIT was lost, not the swap
        pause = _BETWEEN_TRIES * (1 + attempt / 4)
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    raise PreconditionFailed(
        expected=f"all sessions to leave the database within {_TRIES} attempts.",
        found=failure,
        state="Every attempt was rolled back: both databases have their names as before.",
        todo="Find who stays with pg_stat_activity, end it or stop its program, and run again.",
    )


def _is_swapped(database: Database, leaving: int, coming: int, name: str) -> bool:
    with database.connect(elsewhere(database)) as session:
        return name_of(session, coming) == name and name_of(session, leaving) != name


def _attempt(
    session: Connection,
    ender: Ender,
    leaving: int,
    coming: int,
    steps: Callable[[int], list[sql.Composed]],
) -> float:
    wait_until_empty(session, coming, _STATEMENT_MS / 1000)
    started = time.monotonic()
    ender.start()
    wait_until_empty(session, leaving, _STATEMENT_MS / 1000)
    with session.transaction():
        session.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(f"{_STATEMENT_MS}ms"))
        row = session.execute("SELECT txid_current() % 4294967296 AS xid").fetchone() or {"xid": 0}
        first, *others = steps(int(row["xid"]))
        session.execute(first)
        faults.point("database.swap_databases:first-rename")
        ender.stop()  # the lock of the first RENAME holds newcomers from here on
        for statement in others:
            session.execute(statement)
    return time.monotonic() - started


@contextmanager
def _paused(system: System) -> Iterator[bool]:
    try:
        pause = system.application.pause(_PAUSE_SECONDS)
    except RemediationError:
        yield False  # it can't be held: its requests meet the window of the swap
        return
    with pause as held:
        yield held


def rename(old: str, new: str) -> sql.Composed:
    """Write the statement that renames a database."""
    return sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
        sql.Identifier(old), sql.Identifier(new)
    )
