"""Bring live from one revision to another, with the patience of 0.3 s for each of its locks."""

import random
import time
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from tasks.database.migrations.lock_queries import BY_VERSION_TABLE
from tasks.database.migrations.lock_watch import LockWatch
from tasks.database.migrations.locks import (
    LOCK_TIMEOUT,
    options,
    prove_lock_timeout,
    server_version,
)
from tasks.database.reporting import Reporter
from tasks.database.schema.objects import (
    describe_changes,
    read_invalid_indexes,
    read_objects,
    tell_invalid_indexes,
)
from tasks.database.schema.output import failed_for_a_lock, what_it_said
from tasks.database.schema.revision import find_version_table, read_revision, read_revisions
from tasks.database.schema.settings import filled, settings_of
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.applications import Completed
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import Database, System

_PATIENCE_SECONDS = 300.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_MOST_CUTS = 3  # one can be for a moment in which the machine was busy


class MovesSchema(Change):
    """A change that brings live from one revision to another, by the application's Alembic.

    Args:
        live: Name of the live database.
        before: The revision before.
        after: The revision to which it leads.
        in_transaction: Whether it is one transaction, so that a failure leaves nothing.
        script: Its digest as it was rehearsed, '' where unknown.
        cut_after: Seconds that others may wait for it at a stretch; then it is ended.
        statement_seconds: How long one of its statements may take.
    """

    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner", "application:run")
    # What else may help where others would wait for too long, as ', or ...'.
    or_else: ClassVar[str] = ", or allow more in the target: `migrations.longest_stall_seconds`"
    stays: ClassVar[str] = " Revisions applied before it stay."

    live: str
    before: str
    after: str
    in_transaction: bool = True
    script: str = ""
    cut_after: float
    statement_seconds: float

    @property
    def subject(self) -> str:
        """What runs, as its errors call it."""
        return f"revision {self.after}"

    def command(self, settings: MigrationSettings, revision: str) -> list[str]:
        """Give the command that leads to a revision in this direction."""
        return filled(settings.upgrade, revision)

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"schema of {self.live}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"schema revision {self.before}", f"schema revision {self.after}"

    def observe(self, work: Work) -> Observed:
        """Read the revision that the live database says it is at."""
        system = targets.load(work.target)
        with system.database.connect(self.live) as session:
            found = read_revisions(session, settings_of(system).version_table) or ()
        standing = Standing.OTHER
        if found == (self.after,):
            standing = Standing.AFTER
        elif found == (self.before,):
            if work.begun_at is not None and not self.in_transaction:  # run again, a part of it
                return Observed(Standing.OTHER, self._torn)  # would be done twice
            standing = Standing.BEFORE
        return Observed(standing, f"{self.live} is at {', '.join(found) or 'no revision'}")

    def apply(self, work: Work) -> str:
        """Try until it gets its locks, or once outside of one transaction; look what is left."""
        system = targets.load(work.target)
        with system.database.connect(self.live) as session:
            schema, invalid = read_objects(session), read_invalid_indexes(session)
        reporter, give_up = Reporter(work), time.monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        attempt, cuts, proved, looked = 0, 0, False, False
        while True:
            attempt += 1
            try:
                proved = proved or self._prove(system)
                looked = False
                done, watch = self._try(system)
                if done.status == 0:
                    break
                self._insist_on_rollback(system, schema, done, watch)
                looked, cuts = True, cuts + bool(watch.cut)
                if watch.cut and (not self.in_transaction or cuts == _MOST_CUTS):
                    raise self._ended(watch, cuts)
                why = watch.cut or watch.in_the_way or "a lock that it did not get"
            except Transient as error:
                why = error.found
            if time.monotonic() > give_up or (proved and not self.in_transaction):
                raise self._no_lock(attempt, why, begun=proved, looked=looked)
            left = max(0.0, 1 - (give_up - time.monotonic()) / _PATIENCE_SECONDS)
            reporter.tell(min(0.99, left), f"attempt {attempt} gave way: {why}")
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        many = f"at attempt {attempt}" if attempt > 1 else "at once"
        return f"{many}; {watch.sentence}{self._tell_invalid(system, invalid)}"

    def _tell_invalid(self, system: System, before: frozenset[str]) -> str:
        if self.in_transaction:
            return ""
        with system.database.connect(self.live) as session:
            return tell_invalid_indexes(session, before, self.live, self.after)

    def _environment(self, system: System, *, in_transaction: bool) -> dict[str, str]:
        # What is CONCURRENTLY waits for old transactions, and is left invalid by a timeout.
        patience = LOCK_TIMEOUT if in_transaction else "0"
        given = system.application.settings().get("PGOPTIONS", "")
        seconds = self.statement_seconds if in_transaction else 0.0
        return {
            "PGAPPNAME": system.database.environment()["PGAPPNAME"],
            "PGOPTIONS": options(server_version(system.database), seconds, given, patience),
        }

    def _prove(self, system: System) -> bool:
        """Prove where it lands and that it gives up on a lock, while nothing is at stake."""
        settings = settings_of(system)
        command = self.command(settings, self.before)
        with system.database.connect(self.live) as session:
            table = find_version_table(session, settings.version_table)
        given = self._environment(system, in_transaction=True)  # else it would wait for ever
        prove_lock_timeout(system, command, self.live, table, given)
        return True

    def _try(self, system: System) -> tuple[Completed, LockWatch]:
        settings = settings_of(system)
        command = self.command(settings, self.after)
        with system.database.connect(self.live) as beside:
            table = find_version_table(beside, settings.version_table)
            parameters: dict[str, Any] = {
                "table": table,
                "since": _now(beside.execute("SELECT clock_timestamp() AS now").fetchone()),
                "ours": [beside.info.backend_pid],
            }
            # In the watch's thread it would not carry the fencing token.
            again = partial(copy_context().run, system.database.connect, self.live)
            bounds = (self.cut_after, _PATIENCE_SECONDS)
            watch = LockWatch(beside, BY_VERSION_TABLE, parameters, table, *bounds, again)
            given = self._environment(system, in_transaction=self.in_transaction)
            with watch:
                done = system.application.run(command, given)
        return done, watch

    def _insist_on_rollback(
        self, system: System, schema: dict[str, str], done: Completed, watch: LockWatch
    ) -> None:
        """Return where it failed for a lock or was ended, and left nothing behind."""
        left = self._left(system.database, schema, settings_of(system).version_table)
        said = what_it_said(done, (), system.application.settings())
        if left:
            raise PreconditionFailed(
                expected=f"{self.subject} to go through, or to leave nothing behind.",
                found=f"it failed: {said}{f'; it was ended: {watch.cut}' if watch.cut else ''}",
                state=f"{self.live} is at revision {self.before}, and this is left of it: {left}.",
                todo="Finish it or take it back by hand, as its file says; then stamp, and run "
                "again. An index that is invalid: DROP INDEX CONCURRENTLY. It runs outside of one "
                "transaction.",
            )
        if not watch.cut and not failed_for_a_lock(done):
            raise PreconditionFailed(
                expected=f"{self.subject} to go through.",
                found=f"status {done.status}: {said}",
                state=self._as_before,
                todo="Correct the revision, and run again: it goes on from there.",
            )

    def _ended(self, watch: LockWatch, times: int) -> PreconditionFailed:
        return PreconditionFailed(
            expected=f"{self.subject} to make nobody wait longer than {self.cut_after:.1f} s, "
            f"and to wait no longer than {_PATIENCE_SECONDS:.0f} s.",
            found=f"it was ended{f' {times} times' if times > 1 else ''}: {watch.cut}.",
            state=self._as_before,
            todo=f"Run it again when there is less load and no long transaction{self.or_else}.",
        )

    @property
    def _torn(self) -> str:
        return (
            f"{self.live} is at {self.before}, and {self.subject} was begun outside of one "
            "transaction: what it committed stands; finish it or take it back by hand, then stamp"
        )

    @property
    def _as_before(self) -> str:
        if not self.in_transaction:  # rows that it wrote show in no schema
            return f"Its schema is as before this revision, its rows may not be: {self._torn}."
        return (
            f"{self.live} is at revision {self.before}; its schema was read again and is "
            f"as before this revision.{self.stays}"
        )

    def _left(self, database: Database, schema: dict[str, str], table: str) -> str:
        with database.connect(self.live) as session:
            left = describe_changes(schema, read_objects(session))
            revision = read_revision(session, table)
        moved = "" if revision == self.before else f"revision {revision or 'none'}"
        return "; ".join(part for part in (moved, left) if part)

    def _no_lock(self, attempt: int, why: str, *, begun: bool, looked: bool) -> PreconditionFailed:
        again = self.in_transaction or not begun
        gave_way = f"{attempt} attempts gave way after {LOCK_TIMEOUT} each"
        if begun:
            left = "one transaction is rolled back" if self.in_transaction else self._torn
            state = self._as_before if looked else f"What it left could not be read: {left}."
        else:
            state = f"{self.live} is at revision {self.before}; {self.subject} was not begun."
        return PreconditionFailed(
            expected=f"{self.subject} to get its locks within {_PATIENCE_SECONDS:.0f} s.",
            found=f"{gave_way if again else 'it is not tried again'}; in the way: {why}.",
            state=state,
            todo="Let that transaction end, or end it (pg_terminate_backend), then run again.",
        )


def _now(row: dict[str, Any] | None) -> datetime:
    now = row["now"] if row else None
    assert isinstance(now, datetime)  # noqa: S101 - for mypy
    return now
