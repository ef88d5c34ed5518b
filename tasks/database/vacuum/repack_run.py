"""pg_repack, told to end no session of others, watched, and ended where it must not go on.

Source: pg_repack's manual, and its program's source in 1.4.8 and 1.5.3.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import IO

from psycopg import sql
from psycopg.conninfo import make_conninfo

from tasks.database.catalogue import complete_timeouts
from tasks.database.disk import DISK_RESERVE
from tasks.database.looking import Looking
from tasks.database.programs import running
from tasks.database.reporting import Reporter
from tasks.database.vacuum.repack_needs import PROGRAM, numbers
from tasks.database.vacuum.repack_remains import find_at_work
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Work
from tasks.platforms.protocols import Connection, Database

# It asks for its lock again and again, for a second at most each time, and so long in all.
_WAIT_SECONDS = 5
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 300.0
_LOOKS_AFTER = 2
_CHECK_INTERVAL_SINCE = 140000
_CONNINFO_BEFORE = (1, 5, 1)
_SETTINGS = {
    # Longer than each of its tries, which it bounds itself, and bounds the lock by which it
    # clears up behind itself: that one would wait for ever, with everybody queued behind it.
    "lock_timeout": "1500ms",
    # It resets it to what the session came with, and one of its sessions idles all the while.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # A policy would hide rows from the copy: this makes it an error.
    "row_security": "off",
}
# How its statements begin, and what it is at with them.
_STEPS = (
    ("INSERT INTO repack.table_", 0.1, "copying rows"),
    ("CREATE ", 0.5, "building indexes"),
    ("SELECT repack.repack_apply", 0.8, "carrying over what was written meanwhile"),
    ("SELECT pid FROM pg_locks", 0.9, "waiting for transactions that are older than the copy"),
)
_OLDEST = """
    SELECT format('session %s of %s (%s) holds a transaction of %s s open', pid, usename, state,
      extract(epoch FROM clock_timestamp() - xact_start)::int) AS who
    FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
      AND application_name NOT LIKE 'remedy:%'
    ORDER BY xact_start LIMIT 1"""
_WORDS = ("ERROR", "FATAL", "WARNING", "INFO: Skipping", "pg_repack: error")
_SAID = 4


def run_pg_repack(
    database: Database, table: sql.Identifier, oid: int, version: str, work: Work, *, as_owner: bool
) -> str:
    """Let pg_repack write one table anew.

    Args:
        database: The database under care.
        table: The table's name.
        oid: Its OID.
        version: The program's version.
        work: Where progress is reported.
        as_owner: Whether the maintenance user is no superuser.

    Returns:
        What it warned of, without the lines that may hold rows. It ends well, too, where it did
        not get its lock: the table's file says whether it was done.

    Raises:
        PreconditionFailed: The disk became too full, or it waited for an old transaction for
            five minutes. What it has left is for the caller to clear.
    """
    with database.connect() as session:
        server, name = session.info.server_version, table.as_string(session)
    arguments = [
        f"--table={name}",
        "--no-kill-backend",
        # Else it sorts a table that has an index to be clustered by, as CLUSTER does: on a disk
        # that nobody measured for that, and into an order that nobody could put back.
        "--no-order",
        f"--wait-timeout={_WAIT_SECONDS}",
        "--no-password",
        *(["--no-superuser-check"] if as_owner else []),
    ]
    environment = {
        "PGOPTIONS": " ".join(f"-c {key}={value}" for key, value in _settings(server).items()),
        "PGDATABASE": _conninfo(database.name, version),
    }
    with (
        tempfile.TemporaryFile() as words,
        database.connect() as beside,
        running(database, PROGRAM, arguments, environment=environment, stderr=words) as process,
        _Watch(beside, process, oid, Reporter(work), database.free_bytes) as watch,
    ):
        process.wait()
        said = _said(words)
    if watch.why:
        raise PreconditionFailed(
            expected=f"pg_repack to write {name} anew, with room for it and nobody in its way.",
            found=f"{watch.why}.",
            state="It was ended; the table is as it was, and what it had begun is cleared.",
            todo="Free space on the server's disk, or have that session end; then run again.",
        )
    return said


def _settings(version: int) -> dict[str, str]:
    check = {"client_connection_check_interval": "1s"} if version >= _CHECK_INTERVAL_SINCE else {}
    return {**complete_timeouts(_SETTINGS, version), **check}


def _conninfo(name: str, version: str) -> str:
    """Give the name of a database as this pg_repack's PGDATABASE: it takes it for more than that.

    Up to 1.5.0 it is put into a connection string as it is; since, one may stand for it.
    """
    written = make_conninfo(dbname=name)
    return written.removeprefix("dbname=") if numbers(version) < _CONNINFO_BEFORE else written


def _said(words: IO[bytes]) -> str:
    words.seek(0)
    lines = words.read().decode(errors="replace").splitlines()
    told = list(dict.fromkeys(line.strip() for line in lines if line.startswith(_WORDS)))
    return "; ".join(told[-_SAID:])


class _Watch(Looking):
    """Looks at a pg_repack and the disk; `why` says afterwards why it ended it."""

    def __init__(
        self,
        session: Connection,
        process: "subprocess.Popen[bytes]",
        oid: int,
        reporter: Reporter,
        free: Callable[[], int | None],
    ) -> None:
        super().__init__()
        self._session, self._process, self._oid = session, process, oid
        self._reporter, self._free = reporter, free
        self._waits_since: float | None = None
        self._has_begun, self._looks_after = False, 0
        self.why = ""

    def run(self) -> None:
        """Look until the program has ended, or had to be ended."""
        try:
            while not self.ended.wait(_LOOK_SECONDS) and not self.why:
                free = self._free()
                if free is not None and free < DISK_RESERVE:
                    self._end(f"only {free / 1e6:.0f} MB are free on the server's disk")
                at_work = find_at_work(self._session, self._oid)
                for _, _, query in at_work:
                    self._tell(query)
                self._end_clearing_up(begun=bool(at_work))
        except Exception:  # noqa: BLE001 - whatever it is: unwatched it may not go on
            self._end("it could not be watched any more")

    def _tell(self, query: str) -> None:
        step = next((number for number, one in enumerate(_STEPS) if query.startswith(one[0])), None)
        if step is None:
            return
        self._reporter.tell(*_STEPS[step][1:])
        now = time.monotonic()
        if step == len(_STEPS) - 1:
            self._waits_since = self._waits_since or now
        elif step < len(_STEPS) - 2:
            self._waits_since = None
        if self._waits_since and now - self._waits_since > _PATIENCE_SECONDS:
            row = self._session.execute(_OLDEST.encode()).fetchone()
            self._end(row["who"] if row else "it waited for transactions that nobody sees")

    def _end_clearing_up(self, *, begun: bool) -> None:
        """End one that has given up and does not end: it drops what it made, again and again.

        It would for as long as somebody holds the table, with everybody else queued behind it
        1.5 s each time. What it leaves is dropped by our own, which wait for less, and seldom.
        """
        self._has_begun = self._has_begun or begun
        self._looks_after = 0 if begun or not self._has_begun else self._looks_after + 1
        if self._looks_after < _LOOKS_AFTER:
            return
        self._process.kill()
        self._session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user "
            "AND application_name = current_setting('application_name') "
            "AND query LIKE 'SELECT repack.repack_drop%'"
        )

    def _end(self, why: str) -> None:
        self.why = self.why or why
        self._process.terminate()
