"""The application's cache: its keys, the jobs that wait, and clearing it."""

from typing import ClassVar

from tasks.guardrails.errors import RemediationError
from tasks.guardrails.plan import Change, Finding, Observed, Standing, Work
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

# What this process cleared; after a crash it is cleared again, which does no harm.
_cleared: dict[tuple[str, str, str], bool] = {}


@probe
def inspect_queues(target: str) -> Finding:
    """List the jobs that wait in the application's queues: they were made from the old rows.

    Args:
        target: Name of the target.

    Returns:
        A finding with the queues and their lengths.
    """
    try:
        cache = targets.load(target).cache
        queued, keys = cache.queued(), cache.count()
    except RemediationError as error:
        return Finding(what=f"The cache cannot be read: {error.found}", how="cache")
    waiting = sum(queued.values())
    return Finding(
        what=f"{counted(keys, 'cached key')}; {counted(waiting, 'job')} in "
        f"{counted(len(queued), 'queue')}, to stay there: jobs may name rows that the restored "
        "database has not.",
        how="SCAN of the application's namespace, LLEN of its queues",
        columns=("queue", "jobs"),
        rows=tuple((name, str(length)) for name, length in sorted(queued.items())),
    )


class ClearCache(Change):
    """Clear the application's namespace in the cache; its queues stay.

    What is cached comes back by itself, so that there is nothing to see afterwards: done is
    what this process did, and a process that takes over clears again. Its revert clears once
    more, as what was cached since comes from a database that the undo takes away: a plan that
    swaps databases has one before the swap (which clears after an undo) and one after it.

    Args:
        moment: 'before the swap' or 'after the swap'.
    """

    kind: ClassVar[str] = "cache.clear"
    permissions: ClassVar[tuple[str, ...]] = ("cache:delete",)
    leaves_no_trace: ClassVar[bool] = True

    moment: str = "after the swap"

    @property
    def title(self) -> str:
        """What the change does."""
        return f"clear the application's cache {self.moment}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("cache",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "rows of the old database are cached", "nothing is cached; queues are untouched"

    def observe(self, work: Work) -> Observed:
        """Say whether this process cleared it since the change was begun."""
        state = _cleared.get(self._key(work))
        if work.begun_at is None or state is False:
            return Observed(Standing.BEFORE, "what is cached may be of the other database")
        if state:
            return Observed(Standing.AFTER, "the application's keys were deleted")
        return Observed(Standing.HALF, "begun by a process that is gone; clearing again is safe")

    def apply(self, work: Work) -> str:
        """Delete the application's keys."""
        gone = targets.load(work.target).cache.clear()
        _cleared[self._key(work)] = True
        return f"{counted(gone, 'key')} deleted"

    def revert(self, work: Work) -> str:
        """Delete them again: what was cached since is of the database that goes."""
        gone = targets.load(work.target).cache.clear()
        _cleared[self._key(work)] = False
        return f"{counted(gone, 'key')} deleted"

    def _key(self, work: Work) -> tuple[str, str, str]:
        return work.target, work.remediation, self.moment
