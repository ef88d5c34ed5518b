"""A load that is watched: how far it is, and whether the server's disk has room for it."""

import contextvars
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg import sql

from tasks.database.catalogue import elsewhere, inspect_database
from tasks.database.disk import DISK_RESERVE
from tasks.database.reporting import Reporter
from tasks.database.sessions import end_sessions
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.plan import Work
from tasks.platforms.protocols import Connection, Database

_LOOK_SECONDS = 0.25


@contextmanager
def watched(database: Database, side: str, expected: int, work: Work) -> Iterator[None]:
    """Report how far a load is once a second, and stop it before the server's disk is full.

    Args:
        database: The database under care.
        side: Name of the database that is loaded.
        expected: Bytes that it will have.
        work: Where progress is reported.

    Raises:
        PreconditionFailed: It was stopped: a server without room for its log ends, and the live
            database with it.
    """
    watcher = _Watcher(database, side, expected, work)
    watcher.start()
    try:
        yield
    except RemediationError as error:
        if watcher.too_little:
            raise _no_room(watcher.too_little) from error
        raise
    finally:
        watcher.stop()
    watcher.look_at_room()  # a load may be through between two looks; freezing its rows is not
    if watcher.too_little:
        raise _no_room(watcher.too_little)


def _no_room(free: int) -> PreconditionFailed:
    return PreconditionFailed(
        expected=f"{DISK_RESERVE / 1e6:.0f} MB to stay free on the server's disk.",
        found=f"{free / 1e6:.0f} MB, and the load was stopped.",
        state="The live database is untouched; the copy goes with the undo.",
        todo="Find what fills the disk and free space, then run again.",
    )


class _Watcher(threading.Thread):
    """Looks at the size of a database that is loaded, and at what is free beside it."""

    def __init__(self, database: Database, side: str, expected: int, work: Work) -> None:
        super().__init__(daemon=True)
        self._database, self._side, self._expected = database, side, expected
        self._reporter = Reporter(work)
        with database.connect(elsewhere(database)) as session:
            self._oid = inspect_database(session, side).oid
        self._with_token = contextvars.copy_context()  # the fencing token is in it
        self._ended = threading.Event()
        self._began = self._reported = time.monotonic()
        self.too_little = 0

    def run(self) -> None:
        while not self._ended.is_set():
            with suppress(RemediationError):  # a session that was cut is opened anew
                self._with_token.run(self._look)
            self._ended.wait(_LOOK_SECONDS)

    def _look(self) -> None:
        with self._database.connect(elsewhere(self._database)) as session:
            while not self._ended.wait(_LOOK_SECONDS):
                self.look_at_room()
                if self.too_little:
                    end_sessions(session, self._oid)
                if time.monotonic() - self._reported >= 1:
                    self._reported = time.monotonic()
                    self._report(session)

    def stop(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()

    def look_at_room(self) -> None:
        """Note it where less is free than has to stay free."""
        free = self._database.free_bytes()
        if free is not None and free < DISK_RESERVE:
            self.too_little = self.too_little or max(1, free)

    def _report(self, session: Connection) -> None:
        row = session.execute(
            sql.SQL("SELECT pg_database_size({})::bigint AS size").format(self._side)
        ).fetchone()
        size, expected = int(row["size"]) if row else 0, self._expected
        rate = size / (time.monotonic() - self._began)
        left = f", {(expected - size) / rate:.0f} s left" if expected > size else ""
        self._reporter.tell(
            min(0.99, size / expected) if expected else 0.0,
            f"{size / 1e6:.0f} MB, {rate / 1e6:.0f} MB/s{left}",
        )
