"""Sessions in a database: who is there, who may not be ended, and ending the others."""

import threading
import time
from datetime import datetime
from typing import Any, Self

from psycopg import sql

from tasks.database.catalogue import elsewhere
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection, Database

_AGAIN_SECONDS = 0.005
_OURS_TO_END = "('client backend', 'walsender', 'parallel worker', 'background worker')"


def find_sessions(session: Connection, oid: int) -> list[dict[str, Any]]:
    """List the sessions in a database with whether we may end them.

    Args:
        session: A session of ours, in any database.
        oid: OID of the database.

    Returns:
        pid, role, client, state, age of the transaction in seconds, and `may_end`.
    """
    return session.execute(
        sql.SQL(
            """SELECT a.pid, coalesce(a.usename, '?') AS role, coalesce(a.application_name, '')
                 AS client, coalesce(a.state, '') AS state,
                 coalesce(extract(epoch FROM now() - a.xact_start), 0)::float AS seconds,
                 (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                 OR (NOT coalesce(r.rolsuper, false)
                     AND (pg_has_role('pg_signal_backend', 'USAGE')
                          OR coalesce(pg_has_role(a.usesysid, 'USAGE'), false))) AS may_end
               FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
               WHERE a.datid = %s AND a.pid <> pg_backend_pid()
                 AND a.backend_type IN {} ORDER BY a.pid"""
        ).format(sql.SQL(_OURS_TO_END)),
        (oid,),
    ).fetchall()


def end_sessions(session: Connection, oid: int, before: datetime | None = None) -> int:
    """End the sessions in a database once, without waiting; superusers' only as a superuser.

    Args:
        session: A session of ours in another database.
        oid: OID of the database.
        before: Only those that began before this moment; all by default.

    Returns:
        How many were told to end.
    """
    row = session.execute(
        sql.SQL(
            """SELECT count(pg_terminate_backend(a.pid)) AS n
               FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
               WHERE a.datid = %s AND a.pid <> pg_backend_pid() AND a.backend_type IN {}
                 AND (current_setting('is_superuser') = 'on' OR r.rolsuper IS NOT TRUE)
                 AND a.backend_start < coalesce(%s, 'infinity'::timestamptz)"""
        ).format(sql.SQL(_OURS_TO_END)),
        (oid, before),
    ).fetchone()
    return int(row["n"]) if row else 0


def wait_until_empty(session: Connection, oid: int, seconds: float) -> int:
    """End the sessions in a database again and again until none is left.

    Args:
        session: A session of ours in another database.
        oid: OID of the database.
        seconds: How long to go on at most.

    Returns:
        How many are left.
    """
    deadline = time.monotonic() + seconds
    while (left := end_sessions(session, oid)) and time.monotonic() < deadline:
        time.sleep(_AGAIN_SECONDS)
    return left


class Ender:
    """A second session that goes on ending newcomers until it is told to stop."""

    def __init__(self, database: Database, oid: int) -> None:
        """Connect, so that no time is lost on it later.

        Args:
            database: The database under care.
            oid: OID of the database whose sessions are ended.
        """
        self._session = database.connect(elsewhere(database))
        self._oid = oid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self.ended = 0

    def start(self) -> None:
        """Begin to end sessions."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for the last round."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        """Give the ender, connected and not yet at work."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Stop, and disconnect."""
        self.stop()
        self._session.close()

    def _go_on(self) -> None:
        try:
            while not self._stop.is_set():
                self.ended += end_sessions(self._session, self._oid)
                self._stop.wait(_AGAIN_SECONDS)
        except RemediationError:
            return  # without it RENAME only waits longer, bounded by its own timeout
