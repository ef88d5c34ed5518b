"""Long statements that give way: reported while they run, cancelled where others queue behind.

`long_look` is for those that only read. The others are CREATE and REINDEX INDEX CONCURRENTLY,
VACUUM and the like, whose timeouts are off: a lock_timeout would end one that only waits for an
old transaction.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.database.disk import DISK_RESERVE
from tasks.database.looking import Looking
from tasks.database.reporting import Reporter
from tasks.guardrails.errors import RemediationError, Transient
from tasks.guardrails.plan import Work
from tasks.platforms.postgresql import LOCK_TIMEOUT
from tasks.platforms.protocols import Connection, Database

_SETTINGS = {**NO_TIMEOUTS, "lock_timeout": "0"}
# Rows that a policy hides would be taken for rows that are not there.
_READING = {**NO_TIMEOUTS, "lock_timeout": LOCK_TIMEOUT, "row_security": "off"}
_LOOK_SECONDS = 0.25
_QUEUE_SECONDS = 0.4
_PATIENCE_SECONDS = 300.0
# From pg_locks, which everybody may read; what others do is seen by some only.
_QUEUED = """
    SELECT l.pid, coalesce(a.usename, '?') AS role, coalesce(left(a.query, 60), '?') AS query
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE NOT l.granted AND coalesce(a.backend_type, 'client backend') = 'client backend'
      AND %(pid)s = ANY (pg_blocking_pids(l.pid))"""
# A prepared transaction has no process: it blocks as number 0.
_WAITED_FOR = """
    SELECT b.pid, coalesce(a.usename, '?') AS role, coalesce(a.state, 'prepared?') AS state,
      coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::int, 0) AS seconds
    FROM unnest(pg_blocking_pids(%(pid)s)) AS b(pid)
      LEFT JOIN pg_stat_activity a ON a.pid = b.pid ORDER BY a.xact_start"""


@dataclass(frozen=True)
class Underway:
    """How far a long statement has come.

    Args:
        done: Fraction from 0 to 1.
        detail: What it is at.
    """

    done: float
    detail: str


# Asks on a session how far the statement of a backend has come; None where it does not say.
Look = Callable[[Connection, int], Underway | None]


def run_giving_way(
    database: Database,
    statement: sql.Composed,
    look: Look,
    work: Work,
    title: str,
    **settings: str,
) -> None:
    """Run a long statement in the database under care, outside of a transaction.

    Args:
        database: The database.
        statement: The statement.
        look: Says how far it has come.
        work: Where progress is reported.
        title: What it does, for messages.
        settings: Settings of the session beside those that lift its timeouts.

    Raises:
        Transient: It was cancelled: others queued behind it, or somebody held it up for
            five minutes. What it has left is for the caller to clear.
    """
    with (
        connect_with(database, database.name, {**_SETTINGS, **settings}) as session,
        database.connect(database.name) as beside,
    ):
        watcher = Watcher(beside, session, look, Reporter(work), database.free_bytes)
        try:
            with watcher:
                session.execute(statement)
        except RemediationError as error:
            if not watcher.why:
                raise
            raise watcher.gave_up(title) from error


class Watcher(Looking):
    """Looks several times a second at who waits for whom, while its block runs.

    `why` says afterwards why it cancelled, '' where it did not.

    Args:
        session: A session beside, to look with.
        statement: The session whose statements are watched, and cancelled.
        look: Says how far the statement has come.
        reporter: To whom it is said.
        free: Measures the free bytes on the server's disk, for what writes there.
        queue_seconds: How long others may queue behind it; infinite for what is bounded by a
            timeout of its own.
    """

    def __init__(
        self,
        session: Connection,
        statement: Connection,
        look: Look = lambda _session, _pid: None,
        reporter: Reporter | None = None,
        free: Callable[[], int | None] = lambda: None,
        queue_seconds: float = _QUEUE_SECONDS,
    ) -> None:
        """Know them; looks at nothing yet."""
        super().__init__()
        self._session, self._statement, self._look = session, statement, look
        self._reporter, self._free, self._queue_seconds = reporter, free, queue_seconds
        self._pid = statement.info.backend_pid
        self.why = ""

    def run(self) -> None:
        """Look until the block has ended, or the statement had to be cancelled."""
        since: dict[int, float] = {}
        held_up = time.monotonic()
        try:
            while not self.ended.wait(_LOOK_SECONDS) and not self.why:
                now = time.monotonic()
                queued = {row["pid"]: row for row in self._ask(_QUEUED)}
                since = {pid: since.get(pid, now) for pid in queued}
                late = [pid for pid, first in since.items() if now - first >= self._queue_seconds]
                if late:
                    first = queued[late[0]]
                    self._cancel(f"{first['role']} waited for it with: {first['query']}")
                free = self._free()
                if free is not None and free < DISK_RESERVE:
                    self._cancel(f"only {free / 1e6:.0f} MB are free on the server's disk")
                waited_for = self._ask(_WAITED_FOR)
                held_up = held_up if waited_for else now
                if now - held_up > _PATIENCE_SECONDS:
                    self._cancel(_sentence(waited_for[0]))
                step = self._look(self._session, self._pid)
                if step and self._reporter:
                    self._reporter.tell(min(0.99, step.done), step.detail)
        except Exception:  # noqa: BLE001 - whatever it is: unwatched it may not go on
            self.why = self.why or "it could not be watched any more"
            self._statement.cancel()

    def gave_up(self, title: str) -> Transient:
        """Give the error that says why it was cancelled.

        Args:
            title: What was watched.
        """
        return Transient(
            expected=f"'{title}' to hold nobody up.",
            found=f"{self.why}.",
            state="It was cancelled; what it had begun is cleared.",
            todo="Run it again when there is less traffic on the table.",
        )

    def _ask(self, query: str) -> list[dict[str, Any]]:
        return self._session.execute(query.encode(), {"pid": self._pid}).fetchall()

    def _cancel(self, why: str) -> None:
        self.why = self.why or why
        self._session.execute("SELECT pg_cancel_backend(%s)", (self._pid,))


@contextmanager
def long_look(database: Database) -> Iterator[tuple[Connection, Callable[[], Watcher]]]:
    """Open a session that may read for as long as it takes, and whose reading gives way.

    Args:
        database: The database under care.

    Yields:
        The session, on which each statement commits, and what gives a watcher of it: nothing
        long is to be read outside of the block of one.
    """
    with (
        connect_with(database, database.name, _READING) as session,
        database.connect(database.name) as beside,
    ):
        yield session, lambda: Watcher(beside, session)


def _sentence(row: dict[str, Any]) -> str:
    return (
        f"session {row['pid']} of {row['role']} ({row['state']}) holds a transaction of "
        f"{row['seconds']} s open, which it has to wait for"
    )
