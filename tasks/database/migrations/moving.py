"""Bring live from one revision to another, with the patience of 0.3 s for each of its locks."""

import random
import time
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import Any

from tasks.database.migrations.lock_queries import BY_VERSION_TABLE
from tasks.database.migrations.lock_watch import LockWatch
from tasks.database.migrations.locks import (
    LOCK_TIMEOUT,
    options,
    prove_lock_timeout,
    server_version,
)
from tasks.database.migrations.schema_move import PATIENCE_SECONDS, SchemaMove
from tasks.database.migrations.scripts import insist_on_script
from tasks.database.reporting import Reporter
from tasks.database.schema.objects import (
    describe_changes,
    read_invalid_indexes,
    read_objects,
    tell_invalid_indexes,
)
from tasks.database.schema.output import failed_for_a_lock, what_it_said
from tasks.database.schema.revision import find_version_table, read_revision
from tasks.database.schema.settings import settings_of
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Work
from tasks.platforms import targets
from tasks.platforms.applications import Completed
from tasks.platforms.protocols import Database, System

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_MOST_CUTS = 3  # one can be for a moment in which the machine was busy


class MovesSchema(SchemaMove):
    """A move, and how it is made: attempt by attempt, each compared, watched and looked after."""

    def apply(self, work: Work) -> str:
        """Try until it gets its locks, or once outside of one transaction; look what is left."""
        system = targets.load(work.target)
        with system.database.connect(self.live) as session:
            schema, invalid = read_objects(session), read_invalid_indexes(session)
        reporter, give_up = Reporter(work), time.monotonic() + PATIENCE_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        attempt, cuts, proved, begun, looked = 0, 0, False, False, False
        while True:
            attempt += 1
            try:
                proved = proved or self._prove(system)
                self._insist_on_script(system)
                begun, looked = True, False
                done, watch = self._try(system)
                if done.status == 0:
                    break
                self._insist_on_rollback(system, schema, done, watch)
                looked, cuts = True, cuts + bool(watch.cut)
                if watch.cut and (not self.in_transaction or cuts == _MOST_CUTS):
                    raise self.ended(watch.cut, cuts)
                why = watch.cut or watch.in_the_way or "a lock that it did not get"
            except Transient as error:
                why = error.found
            if time.monotonic() > give_up or (begun and not self.in_transaction):
                raise self.no_lock(attempt, why, begun=begun, looked=looked)
            left = max(0.0, 1 - (give_up - time.monotonic()) / PATIENCE_SECONDS)
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

    def _insist_on_script(self, system: System) -> None:
        command = self.command(settings_of(system), f"{self.before}:{self.after}")
        insist_on_script(system, command, self.revision, self.script)

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
            bounds = (self.cut_after, PATIENCE_SECONDS)
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
                state=self.as_before,
                todo="Correct the revision, and run again: it goes on from there.",
            )

    def _left(self, database: Database, schema: dict[str, str], table: str) -> str:
        with database.connect(self.live) as session:
            left = describe_changes(schema, read_objects(session))
            revision = read_revision(session, table)
        moved = "" if revision == self.before else f"revision {revision or 'none'}"
        return "; ".join(part for part in (moved, left) if part)


def _now(row: dict[str, Any] | None) -> datetime:
    now = row["now"] if row else None
    assert isinstance(now, datetime)  # noqa: S101 - for mypy
    return now
