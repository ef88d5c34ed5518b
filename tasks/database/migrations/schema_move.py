"""A move of live from one revision to another: where it stands, and what is said of it."""

from typing import ClassVar

from tasks.database.migrations.locks import LOCK_TIMEOUT
from tasks.database.schema.revision import read_revisions
from tasks.database.schema.settings import filled, settings_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.migration_settings import MigrationSettings

PATIENCE_SECONDS = 300.0


class SchemaMove(Change):
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
    def revision(self) -> str:
        """The revision that runs, whichever way."""
        return self.after

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
                return Observed(Standing.OTHER, self.torn)  # would be done twice
            standing = Standing.BEFORE
        return Observed(standing, f"{self.live} is at {', '.join(found) or 'no revision'}")

    def ended(self, why: str, times: int) -> PreconditionFailed:
        """Make the error of a move that was ended, so often, for those who waited for it."""
        return PreconditionFailed(
            expected=f"{self.subject} to make nobody wait longer than {self.cut_after:.1f} s, "
            f"and to wait no longer than {PATIENCE_SECONDS:.0f} s.",
            found=f"it was ended{f' {times} times' if times > 1 else ''}: {why}.",
            state=self.as_before,
            todo=f"Run it again when there is less load and no long transaction{self.or_else}.",
        )

    @property
    def torn(self) -> str:
        """What is so where it was begun outside of one transaction and did not go through."""
        return (
            f"{self.live} is at {self.before}, and {self.subject} was begun outside of one "
            "transaction: what it committed stands; finish it or take it back by hand, then stamp"
        )

    @property
    def as_before(self) -> str:
        """What is so where it did not go through and the schema was read again."""
        if not self.in_transaction:  # rows that it wrote show in no schema
            return f"Its schema is as before this revision, its rows may not be: {self.torn}."
        return (
            f"{self.live} is at revision {self.before}; its schema was read again and is "
            f"as before this revision.{self.stays}"
        )

    def no_lock(self, attempt: int, why: str, *, begun: bool, looked: bool) -> PreconditionFailed:
        """Make the error of a move that did not get its locks.

        Args:
            attempt: How many attempts there were.
            why: What was in the way of the last one.
            begun: Whether one has run, not only its proof.
            looked: Whether the schema was read after the last one that has.
        """
        again = self.in_transaction or not begun
        gave_way = f"{attempt} attempts gave way after {LOCK_TIMEOUT} each"
        if begun:
            left = "one transaction is rolled back" if self.in_transaction else self.torn
            state = self.as_before if looked else f"What it left could not be read: {left}."
        else:
            state = f"{self.live} is at revision {self.before}; {self.subject} was not begun."
        return PreconditionFailed(
            expected=f"{self.subject} to get its locks within {PATIENCE_SECONDS:.0f} s.",
            found=f"{gave_way if again else 'it is not tried again'}; in the way: {why}.",
            state=state,
            todo="Let that transaction end, or end it (pg_terminate_backend), then run again.",
        )
