"""Removing what nobody uses from an engine's disk: containers, volumes, networks, build cache."""

from datetime import datetime
from typing import ClassVar

from tasks.disk.sizes import Freed, megabytes
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.disks import EngineStore, Kept, Kind


def store_of(work: Work) -> EngineStore:
    """Give the store of a target's engine."""
    return targets.load(work.target).engine_store


class Removal(Change):
    """Remove an object that nobody uses; the engine refuses where somebody does by then.

    Args:
        known: Its id.
        name: Its name.
        size: Bytes that come free with it alone.
        since: When it was made, pulled or ended; None where that is not known.
        why: Why it may go.
    """

    what: ClassVar[Kind]
    permissions: ClassVar[tuple[str, ...]] = ("engine:remove",)

    known: str
    name: str
    size: int
    since: datetime | None
    why: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"remove {self.what} {self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"{self.what} {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        since = f"of {self.since:%Y-%m-%d %H:%M} UTC" if self.since else "nobody knows since when"
        there = f"{self.name} ({megabytes(self.size)} MB, {since})"
        return f"{there}: {self.why}", "gone"

    def observe(self, work: Work) -> Observed:
        """Look whether it is there, and still used by nobody."""
        found = store_of(work).find(self.what, self.known)
        if found is None:
            return Observed(Standing.AFTER, f"there is no {self.what} {self.name}")
        if found.used_by:
            used = ", ".join(found.used_by)
            return Observed(Standing.OTHER, f"{self.what} {self.name} is used by {used}")
        if other := self._other(found):
            return Observed(Standing.OTHER, f"{self.what} {self.name} {other}")
        return Observed(Standing.BEFORE, f"{self.what} {self.name} is there, used by nobody")

    def _other(self, found: Kept) -> str:  # noqa: ARG002 - some look at it
        """Say how it is not as it was planned; '' where it is."""
        return ""

    def apply(self, work: Work) -> str:
        """Remove it, and measure what comes free."""
        store = store_of(work)
        freed = Freed(store)
        store.remove(self.what, self.known)
        return freed.sentence()


class RemoveContainer(Removal):
    """Remove a container that has ended; its volumes stay."""

    kind: ClassVar[str] = "disk.remove_container"
    what: ClassVar[Kind] = "container"
    reverts: ClassVar[Reverts] = "impossible"
    asked_each_time: ClassVar[bool] = True

    def _other(self, found: Kept) -> str:
        if self.since is None or found.since is None or found.since == self.since:
            return ""
        return f"ran again meanwhile, and ended at {found.since:%Y-%m-%d %H:%M:%S} UTC"


class RemoveVolume(Removal):
    """Remove a volume without a name and without anything in it.

    Args:
        made: What it is made anew from.
    """

    kind: ClassVar[str] = "disk.remove_volume"
    what: ClassVar[Kind] = "volume"

    made: str

    def _other(self, found: Kept) -> str:
        return "" if found.is_empty else "is not empty any more, or cannot be looked into"

    def revert(self, work: Work) -> None:
        """Make it anew, as empty as it was."""
        store_of(work).make(self.what, self.known, self.made)


class RemoveNetwork(Removal):
    """Remove a network that no container is to be attached to, a stopped one neither.

    Args:
        made: What it is made anew from.
    """

    kind: ClassVar[str] = "disk.remove_network"
    what: ClassVar[Kind] = "network"
    but: ClassVar[str] = ", but with another id"

    made: str

    def _other(self, found: Kept) -> str:
        return "" if found.made == self.made else "is another one by now"

    def revert(self, work: Work) -> None:
        """Make it anew under its name, with its addresses."""
        store_of(work).make(self.what, self.known, self.made)


class ClearBuildCache(Change):
    """Remove records of the build cache.

    Args:
        records: Their ids.
        size: Their bytes.
    """

    kind: ClassVar[str] = "disk.clear_build_cache"
    permissions: ClassVar[tuple[str, ...]] = ("engine:remove",)
    reverts: ClassVar[Reverts] = "pointless"  # the next builds fill it again

    records: tuple[str, ...]
    size: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"remove {counted(len(self.records), 'record')} of the build cache"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("build cache",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{megabytes(self.size)} MB that no build uses", "gone; later builds take longer"

    def observe(self, work: Work) -> Observed:
        """Look which of them are there and not in use."""
        left = store_of(work).left_of_cache(self.records)
        if not left:
            return Observed(Standing.AFTER, "none of these records is left unused")
        return Observed(Standing.BEFORE, f"{counted(len(left), 'record')} of these are there")

    def apply(self, work: Work) -> str:
        """Remove them, and measure what comes free."""
        store = store_of(work)
        freed = Freed(store)
        store.remove_cache(self.records)
        return freed.sentence()
