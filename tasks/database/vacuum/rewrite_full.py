"""Tables written anew under a lock (VACUUM FULL) that is short to get and bounded to hold.

Source: PostgreSQL manual, VACUUM; 20.11 (lock_timeout, statement_timeout).
"""

import math
import time
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.database.giving_way import Underway, Watcher, run_giving_way
from tasks.database.reporting import Reporter
from tasks.database.vacuum.changes import look_at_vacuum
from tasks.database.vacuum.rewritable import (
    find_file,
    find_holders,
    is_held_by_autovacuum,
    measure_sizes,
)
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

# Who comes later queues behind the wait: so long at most are they held up for nothing.
_LOCK_MS = 300
# Autovacuum gives way to who has waited for deadlock_timeout: so much longer is waited then.
_LONGER_MS = 300
_LOCKED, _CANCELLED = "55P03", "57014"


class RewriteTable(Change):
    """A table whose rows are written into a new file.

    Args:
        schema_name: Its schema.
        name: Its name.
        oid: Its OID, which stays.
        file: Number of its file: another one when it was written anew.
    """

    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    schema_name: str
    name: str
    oid: int
    file: int

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_name}.{self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"table {self.full_name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"its rows are in file {self.file}", "the same rows, in a new file as large as they"

    def observe(self, work: Work) -> Observed:
        """See which file the table has; nobody's lock is waited for."""
        with targets.load(work.target).database.connect() as session:
            found = find_file(session, self.oid)
        if found is None:
            return Observed(Standing.OTHER, f"there is no table {self.full_name} any more")
        if (found.schema_name, found.name) != (self.schema_name, self.name):
            return Observed(Standing.OTHER, f"it is {found.schema_name}.{found.name} now")
        standing = Standing.BEFORE if found.file == self.file else Standing.AFTER
        return Observed(standing, f"{self.full_name} has file {found.file}")


class VacuumFull(RewriteTable):
    """Write a table anew while nobody else reads or writes it; all of it or nothing.

    Args:
        most_seconds: How long it may hold its lock; PostgreSQL rolls back what takes longer.
    """

    kind: ClassVar[str] = "database.vacuum_full"

    most_seconds: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"write {self.full_name} anew under a lock of {self.most_seconds} s at most"

    def apply(self, work: Work) -> str:
        """Write it anew, then renew its statistics while others work with it."""
        database = targets.load(work.target).database
        with database.connect(lock_timeout="5s") as session:
            before = measure_sizes(session, self.oid)
        table = sql.Identifier(self.schema_name, self.name)
        seconds = self._write(database, sql.SQL("VACUUM (FULL) {}").format(table), work)
        # A new file has no map of the pages that everybody sees: queries that read the index
        # alone read the table too until a VACUUM has made it.
        later = ""
        try:
            run_giving_way(
                database,
                sql.SQL("VACUUM (ANALYZE) {}").format(table),
                look_at_vacuum,
                work,
                f"renew the statistics of {self.full_name}",
            )
        except Transient as error:
            later = f"; its statistics are left to autovacuum: {error.found}"
        with database.connect(lock_timeout="5s") as session:
            after = measure_sizes(session, self.oid)
        return f"{after.compared_to(before)}; it was locked for {seconds:.1f} s at most{later}"

    def _write(self, database: Database, statement: sql.Composed, work: Work) -> float:
        """Run it under both timeouts, and watch the disk; gives the seconds that it took."""
        with (
            database.connect() as beside,
            connect_with(
                database,
                database.name,
                {**NO_TIMEOUTS, "lock_timeout": f"{_lock_ms(beside, self.oid)}ms"},
            ) as session,
        ):
            bound = f"{self.most_seconds}s"
            session.execute("SELECT set_config('statement_timeout', %s, false)", (bound,))
            watcher = Watcher(
                beside,
                session,
                look_at_rewrite,
                Reporter(work),
                database.free_bytes,
                queue_seconds=math.inf,  # they have to: the timeout says for how long
            )
            began = time.monotonic()
            try:
                with watcher:
                    session.execute(statement)
            except RemediationError as error:
                if sqlstate(error) == _LOCKED:
                    raise self._not_locked(beside) from error
                if watcher.why or sqlstate(error) == _CANCELLED:
                    raise self._cancelled(watcher.why) from error
                raise
            return time.monotonic() - began

    def _not_locked(self, session: Connection) -> Transient:
        holders = find_holders(session, self.oid)
        return Transient(
            expected=f"nobody to hold {self.full_name} for longer than {_LOCK_MS} ms.",
            found=f"{'; '.join(holders) or 'somebody did, who is gone by now'}.",
            state="Nothing was changed; nobody waits for it any more.",
            todo="Run it again when there is less traffic on the table, or once that "
            "transaction has ended.",
        )

    def _cancelled(self, why: str) -> PreconditionFailed:
        return PreconditionFailed(
            expected=f"{self.full_name} to be written anew within {self.most_seconds} s, and room "
            "for it.",
            found=f"{why or f'it took more than {self.most_seconds} s'}.",
            state="It was cancelled, and PostgreSQL has rolled it back: the table is as it was, "
            "and everybody may use it.",
            todo="Free space on the server's disk, then run again."
            if why
            else "Run it with a larger most_seconds, or with way=pg_repack.",
        )


def _lock_ms(session: Connection, oid: int) -> int:
    """Say for how many milliseconds the lock of a table may be waited for."""
    if not is_held_by_autovacuum(session, oid):
        return _LOCK_MS
    row = session.execute(
        "SELECT setting::int AS ms FROM pg_settings WHERE name = 'deadlock_timeout'"
    ).fetchone()
    return (row["ms"] if row else 0) + _LONGER_MS


def look_at_rewrite(session: Connection, pid: int) -> Underway | None:
    """Say how far a backend has come in writing a table anew."""
    row = session.execute(
        """SELECT phase, heap_blks_total AS total, heap_blks_scanned AS done,
             index_rebuild_count AS indexes
           FROM pg_stat_progress_cluster WHERE pid = %s""",
        (pid,),
    ).fetchone()
    if row is None:
        return None
    indexes = f", {row['indexes']} indexes built" if row["indexes"] else ""
    return Underway(row["done"] / row["total"] if row["total"] else 0.0, f"{row['phase']}{indexes}")
