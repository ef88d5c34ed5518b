"""Which locks a migration holds and how long, seen many times a second by a session beside it.

Source: PostgreSQL manual 13.3.1 (table-level locks), 54.12 (pg_locks).
"""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from tasks.database.looking import Looking
from tasks.database.migrations.lock_queries import END, HELD, IN_THE_WAY, QUEUED, TABLES
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
# Of a table whose rows it changed: from its first write on others wait for these rows.
ROWS = "rows"


@dataclass(frozen=True)
class Held:
    """A lock that was held on a table that users knew before.

    Args:
        table: Name of the table, quoted, with its schema.
        mode: The strongest mode that it was held in; ROWS for locks of its rows.
        seconds: How long at a stretch; of a mode that writers wait for, how long they did.
    """

    table: str
    mode: str
    seconds: float

    @property
    def stalls(self) -> bool:
        """Whether users wait for it."""
        return self.mode in _BLOCKING or self.mode == ROWS

    @property
    def sentence(self) -> str:
        """What it means for users."""
        mode = self.mode.removesuffix("Lock")
        who = {MODES[-1]: "reads and writes", ROWS: "writes to these"}.get(self.mode, "writes")
        waits = f": {who} wait" if self.stalls else ": nobody waits"
        return f"{self.table} {mode} {self.seconds:.2f} s{waits}"


@dataclass
class _Stretch:
    """How long a table has been locked without a break, and the longest that it was."""

    began: float = -1.0
    longest: float = 0.0
    mode: str = ""


class LockWatch(Looking):
    """Looks at a migration's locks while its block runs.

    Args:
        session: A session in the same database, to look with.
        sessions: Query of the migration's process ids: BY_ROLE or BY_VERSION_TABLE.
        parameters: Its parameters.
        version_table: The table of the revision, which only migrations lock; quoted.
        cut_after: Seconds that it may make others wait at a stretch; then its session is ended.
        patience: Seconds that it may wait for others at a stretch; then the same.
        again: Gives another session, to end it where this one is lost.
    """

    def __init__(
        self,
        session: Connection,
        sessions: str,
        parameters: Mapping[str, Any],
        version_table: str,
        cut_after: float = float("inf"),
        patience: float = float("inf"),
        again: Callable[[], Connection] | None = None,
    ) -> None:
        """Read which tables there are; looks at no lock yet."""
        super().__init__()
        self._session, self._sessions, self._parameters = session, sessions, parameters
        self._cut_after, self._patience, self._again = cut_after, patience, again
        self._every = SAMPLE_SECONDS if cut_after == float("inf") else LIVE_SAMPLE_SECONDS
        tables = session.execute(sql.SQL(TABLES)).fetchall()
        self._tables = {row["oid"]: row["name"] for row in tables if row["name"] != version_table}
        self._starts: dict[int, datetime | None] = {}
        self._first = self._last = 0.0
        self._stretches: dict[tuple[str, bool], _Stretch] = {}
        self._queued_since = self._waits_since = -1.0
        self._written: frozenset[str] = frozenset()
        self.in_the_way = ""
        self.cut = ""
        self.failure = ""

    @property
    def seconds(self) -> float:
        """How long the migration was seen at work in the database."""
        return self._last - self._first

    @property
    def held(self) -> tuple[Held, ...]:
        """The locks of each table, those that users wait for first, longest first.

        A lock that nobody waits for is left out where there is one that users wait for.
        """
        waited = {table for table, blocking in self._stretches if blocking} | self._written
        found = []
        for (table, blocking), one in sorted(self._stretches.items(), key=lambda item: item[0]):
            rows = not blocking and table in self._written
            if blocking or rows or table not in waited:
                found.append(Held(table, ROWS if rows else one.mode, round(one.longest, 3)))
        return tuple(sorted(found, key=lambda one: (not one.stalls, -one.seconds)))

    def count_rows_of(self, written: Collection[int]) -> None:
        """Take locks of these tables, by their OIDs, for locks of rows that it changed."""
        self._written = frozenset(self._tables[oid] for oid in written if oid in self._tables)

    @property
    def sentence(self) -> str:
        """What users waited for."""
        held = "; ".join(one.sentence for one in self.held if one.stalls)
        unseen = f"; not watched to its end: {self.failure}" if self.failure else ""
        return f"{held or 'no lock seen that users wait for'}{unseen}"

    def run(self) -> None:
        """Look until the block has ended."""
        try:
            # Outside of one transaction it is to be known by its first moments only.
            while not self.ended.wait(self._every if self._starts else SAMPLE_SECONDS):
                self._look()
        except Exception as error:  # noqa: BLE001 - a thread's own would be lost
            found = error.found if isinstance(error, RemediationError) else ""
            self.failure = found or f"{type(error).__name__}: {error}"
            self._end_unwatched()

    @property
    def _known(self) -> dict[str, Any]:
        return {"pids": list(self._starts), "starts": list(self._starts.values())}

    def _look(self) -> None:
        found = self._ask(self._sessions, dict(self._parameters))
        now = time.monotonic()
        # Kept: between transactions it holds nothing.
        self._starts |= {row["pid"]: row["backend_start"] for row in found}
        if not self._starts:
            return
        if found:
            self._first, self._last = self._first or now, now
        rows = self._ask(HELD, self._known)
        # Others than these, as SIReadLock, nobody waits for.
        granted = [row for row in rows if row["granted"] and row["mode"] in MODES]
        self._stretch([(row["oid"], row["mode"]) for row in granted], now)
        waits = any(not row["granted"] for row in rows)
        if waits:
            self._see_who_is_in_the_way()
        self._waits_since = _since(self._waits_since, now, goes_on=waits)
        if waits and now - self._waits_since > self._patience:
            self._cut(f"it had waited {now - self._waits_since:.1f} s for {self.in_the_way}")
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
        for row in self._ask(IN_THE_WAY, self._known):
            self.in_the_way = (
                f"session {row['pid']} of {row['role']} ({row['state']}) with a transaction of "
                f"{row['seconds']} s"
            )

    def _cut_if_others_wait(self, now: float) -> None:
        (row,) = self._ask(QUEUED, self._known)
        self._queued_since = _since(self._queued_since, now, goes_on=row["n"] > 0)
        waited = now - self._queued_since if row["n"] else 0.0
        if waited > self._cut_after:
            self._cut(
                f"others had waited {waited:.1f} s for it: it takes longer here than in its "
                "rehearsal"
            )

    def _cut(self, why: str) -> None:
        if not self.cut:
            self.cut = why
            self._ask(END, self._known)

    def _end_unwatched(self) -> None:
        """End what cannot be watched any longer, by another session, as far as that is had."""
        if self._again is None or not self._starts or self.cut:
            return
        with suppress(RemediationError), self._again() as session:
            if session.execute(END.encode(), self._known).fetchall():
                self.cut = f"it could not be watched any longer: {self.failure}"

    def _ask(self, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return self._session.execute(query.encode(), parameters).fetchall()


def _since(since: float, now: float, *, goes_on: bool) -> float:
    """Give the moment since when something goes on; -1 where it does not."""
    if not goes_on:
        return -1.0
    return now if since < 0 else since
