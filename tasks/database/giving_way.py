"""Long statements that give way: reported while they run, cancelled where others queue behind.

For CREATE and REINDEX INDEX CONCURRENTLY, VACUUM and the like, whose timeouts are off: a
lock_timeout would end one that only waits for an old transaction.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.guardrails.errors import RemediationError, Transient
from tasks.guardrails.plan import Work
from tasks.platforms.protocols import Connection, Database

_SETTINGS = {**NO_TIMEOUTS, "lock_timeout": "0"}
_LOOK_SECONDS = 0.25
_QUEUE_SECONDS = 1.0
_PATIENCE_SECONDS = 900.0
_QUEUED = """
    SELECT a.pid, coalesce(a.usename, '?') AS role, left(a.query, 60) AS query
    FROM pg_stat_activity a
    WHERE a.backend_type = 'client backend' AND a.wait_event_type = 'Lock'
      AND %(pid)s = ANY (pg_blocking_pids(a.pid))"""
_WAITED_FOR = """
    SELECT a.pid, coalesce(a.usename, '?') AS role, coalesce(a.state, '?') AS state,
      extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds
    FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids(%(pid)s)) ORDER BY a.xact_start"""


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
        Transient: It was cancelled: others queued behind it for a second, or somebody held it
            up for a quarter of an hour. What it has left is for the caller to clear.
    """
    with (
        connect_with(database, database.name, {**_SETTINGS, **settings}) as session,
        database.connect(database.name) as beside,
    ):
        watcher = _Watcher(beside, session.info.backend_pid, look, work)
        watcher.start()
        try:
            session.execute(statement)
        except RemediationError as error:
            watcher.stop()
            if watcher.why:
                raise Transient(
                    expected=f"'{title}' to hold nobody up.",
                    found=f"{watcher.why}.",
                    state="It was cancelled; what it had begun is cleared.",
                    todo="Run it again when there is less traffic on the table.",
                ) from error
            raise
        finally:
            watcher.stop()


class _Watcher(threading.Thread):
    """Looks several times a second at who waits for whom."""

    def __init__(self, session: Connection, pid: int, look: Look, work: Work) -> None:
        super().__init__(daemon=True)
        self._session, self._pid, self._look, self._work = session, pid, look, work
        self._ended = threading.Event()
        self.why = ""

    def run(self) -> None:
        since: dict[int, float] = {}
        held_up = time.monotonic()
        try:
            while not self._ended.wait(_LOOK_SECONDS) and not self.why:
                now = time.monotonic()
                queued = {row["pid"]: row for row in self._ask(_QUEUED)}
                since = {pid: since.get(pid, now) for pid in queued}
                late = [pid for pid, first in since.items() if now - first >= _QUEUE_SECONDS]
                if late:
                    first = queued[late[0]]
                    self._cancel(f"{first['role']} waited for it with: {first['query']}")
                waited_for = self._ask(_WAITED_FOR)
                held_up = held_up if waited_for else now
                if now - held_up > _PATIENCE_SECONDS:
                    self._cancel(_sentence(waited_for[0]))
                if step := self._look(self._session, self._pid):
                    self._work.progress(min(0.99, step.done), step.detail)
        except RemediationError:
            return  # the server is gone: the statement says so itself

    def stop(self) -> None:
        """Stop looking."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def _ask(self, query: str) -> list[dict[str, Any]]:
        return self._session.execute(query.encode(), {"pid": self._pid}).fetchall()

    def _cancel(self, why: str) -> None:
        self.why = self.why or why
        self._session.execute("SELECT pg_cancel_backend(%s)", (self._pid,))


def _sentence(row: dict[str, Any]) -> str:
    return (
        f"session {row['pid']} of {row['role']} ({row['state']}) holds a transaction of "
        f"{row['seconds']} s open, which it has to wait for"
    )
