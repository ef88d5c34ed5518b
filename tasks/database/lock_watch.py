"""Which locks a migration holds and how long, seen many times a second by a session beside it.

Source: PostgreSQL manual 13.3.1 (table-level locks), 54.12 (pg_locks).
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from psycopg import sql

from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection

SAMPLE_SECONDS = 0.01
# Each look holds the server's table of locks up for a moment: in live fewer do.
LIVE_SAMPLE_SECONDS = 0.05
# Weakest to strongest. From Share on writers wait, at the last one readers too.
MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_BLOCKING = frozenset(MODES[4:])
# The sessions of a role that only the migration has.
BY_ROLE = "SELECT pid FROM pg_stat_activity WHERE usename = %(role)s"
# Alembic reads its table in the transaction in which it migrates; the application never does.
BY_VERSION_TABLE = """
    SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.relation = %(table)s::regclass AND a.backend_start >= %(since)s
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.application_name !~ '^pg_(dump|restore)' AND a.pid <> ALL (%(ours)s)"""
_HELD = """
    SELECT l.relation::bigint AS oid, l.mode, l.granted FROM pg_locks l
    WHERE l.pid = ANY (%(pids)s) AND l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_IN_THE_WAY = """
    SELECT b.pid, coalesce(a.usename, '?') AS role, coalesce(a.state, 'prepared?') AS state,
      coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::int, 0) AS seconds
    FROM unnest(%(pids)s::int[]) AS p(pid), unnest(pg_blocking_pids(p.pid)) AS b(pid)
      LEFT JOIN pg_stat_activity a ON a.pid = b.pid WHERE b.pid <> ALL (%(pids)s)
    ORDER BY a.xact_start LIMIT 1"""
_QUEUED = """
    SELECT count(*) AS n FROM pg_locks l WHERE NOT l.granted AND l.pid <> ALL (%(pids)s)
      AND pg_blocking_pids(l.pid) && %(pids)s::int[]"""
# An index or a TOAST table is its table's: who reads the one needs the other.
_TABLES = """
    SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, t.relname) AS name
    FROM pg_class c
      LEFT JOIN pg_index i ON i.indexrelid = c.oid
      LEFT JOIN pg_class o ON o.reltoastrelid = coalesce(i.indrelid, c.oid)
      JOIN pg_class t ON t.oid = coalesce(o.oid, i.indrelid, c.oid)
      JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"""


@dataclass(frozen=True)
class Held:
    """A lock that was held on a table that users knew before.

    Args:
        table: Name of the table, quoted, with its schema.
        mode: The strongest mode that it was held in.
        seconds: How long at a stretch; of a mode that writers wait for, how long they did.
    """

    table: str
    mode: str
    seconds: float

    @property
    def stalls(self) -> bool:
        """Whether users wait for it."""
        return self.mode in _BLOCKING

    @property
    def sentence(self) -> str:
        """What it means for users."""
        mode = self.mode.removesuffix("Lock")
        who = "reads and writes" if self.mode == MODES[-1] else "writes"
        waits = f": {who} wait" if self.stalls else ": nobody waits"
        return f"{self.table} {mode} {self.seconds:.2f} s{waits}"


@dataclass
class _Stretch:
    """How long a table has been locked without a break, and the longest that it was."""

    began: float = -1.0
    longest: float = 0.0
    mode: str = ""


class LockWatch(threading.Thread):
    """Looks at a migration's locks while its block runs.

    Args:
        session: A session in the same database, to look with.
        sessions: Query of the migration's process ids: BY_ROLE or BY_VERSION_TABLE.
        parameters: Its parameters.
        version_table: The table of the revision, which only migrations lock; quoted.
        cut_after: Seconds that it may make others wait at a stretch; then its session is ended.
    """

    def __init__(
        self,
        session: Connection,
        sessions: str,
        parameters: Mapping[str, Any],
        version_table: str,
        cut_after: float = float("inf"),
    ) -> None:
        """Read which tables there are; looks at no lock yet."""
        super().__init__(daemon=True)
        self._session, self._sessions, self._parameters = session, sessions, parameters
        self._cut_after = cut_after
        self._every = SAMPLE_SECONDS if cut_after == float("inf") else LIVE_SAMPLE_SECONDS
        tables = session.execute(sql.SQL(_TABLES)).fetchall()
        self._tables = {row["oid"]: row["name"] for row in tables if row["name"] != version_table}
        self._ended = threading.Event()
        self._pids: set[int] = set()
        self._first = self._last = 0.0
        self._stretches: dict[tuple[str, bool], _Stretch] = {}
        self._queued_since = -1.0
        self.in_the_way = ""
        self.cut = ""
        self.failure = ""

    @property
    def seconds(self) -> float:
        """How long the migration was seen at work in the database."""
        return self._last - self._first

    @property
    def held(self) -> tuple[Held, ...]:
        """The strongest lock of each table, those that users wait for first, longest first."""
        found = {}
        for (table, blocking), one in sorted(self._stretches.items(), key=lambda item: item[0]):
            if blocking or (table, True) not in self._stretches:
                found[table] = Held(table, one.mode, round(one.longest, 3))
        return tuple(sorted(found.values(), key=lambda one: (not one.stalls, -one.seconds)))

    def run(self) -> None:
        """Look until the block has ended."""
        try:
            while not self._ended.wait(self._every):
                self._look()
        except RemediationError as error:
            self.failure = error.found

    def __enter__(self) -> Self:
        """Begin to look."""
        self.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()

    def _look(self) -> None:
        found = self._ask(self._sessions, dict(self._parameters))
        now = time.monotonic()
        self._pids |= {row["pid"] for row in found}  # between transactions it holds nothing
        if not self._pids:
            return
        if found:
            self._first, self._last = self._first or now, now
        rows = self._ask(_HELD, {"pids": list(self._pids)})
        self._stretch([(row["oid"], row["mode"]) for row in rows if row["granted"]], now)
        if any(not row["granted"] for row in rows):
            self._see_who_is_in_the_way()
        if self._cut_after < float("inf"):
            self._cut_if_others_wait(now)

    def _stretch(self, locks: list[tuple[int, str]], now: float) -> None:
        seen: dict[tuple[str, bool], str] = {}
        for oid, mode in locks:
            table = self._tables.get(oid)  # what it has just made itself nobody waits for
            if table is not None:
                key = (table, mode in _BLOCKING)
                seen[key] = max(seen.get(key, mode), mode, key=MODES.index)
        for key, mode in seen.items():
            one = self._stretches.setdefault(key, _Stretch())
            one.began = now if one.began < 0 else one.began
            one.longest = max(one.longest, now - one.began + self._every)
            one.mode = max(one.mode or mode, mode, key=MODES.index)
        for key, one in self._stretches.items():
            one.began = one.began if key in seen else -1.0

    def _see_who_is_in_the_way(self) -> None:
        for row in self._ask(_IN_THE_WAY, {"pids": list(self._pids)}):
            self.in_the_way = (
                f"session {row['pid']} of {row['role']} ({row['state']}) with a transaction of "
                f"{row['seconds']} s"
            )

    def _cut_if_others_wait(self, now: float) -> None:
        (row,) = self._ask(_QUEUED, {"pids": list(self._pids)})
        if not row["n"]:
            self._queued_since = -1.0
        elif self._queued_since < 0:
            self._queued_since = now
        elif now - self._queued_since > self._cut_after and not self.cut:
            self.cut = f"others had waited {now - self._queued_since:.1f} s for it"
            for pid in self._pids:
                self._session.execute("SELECT pg_terminate_backend(%s)", (pid,))

    def _ask(self, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return self._session.execute(query.encode(), parameters).fetchall()
