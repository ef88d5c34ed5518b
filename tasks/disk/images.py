"""Removing images that nobody uses, each with its way back where there is one."""

from pathlib import Path
from typing import ClassVar

from tasks.disk.removals import Removal, store_of
from tasks.disk.sizes import Freed
from tasks.guardrails import faults
from tasks.guardrails.plan import Observed, Reverts, Standing, Work
from tasks.platforms.disks import Kept, Kind


class RemoveImage(Removal):
    """Remove an image that its registry gives back.

    Args:
        tags: Its tags.
        reference: What it is pulled by, as name@sha256:...
    """

    kind: ClassVar[str] = "disk.remove_image"
    what: ClassVar[Kind] = "image"
    but: ClassVar[str] = ", as long as its registry has it"

    tags: tuple[str, ...]
    reference: str

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return super().before_and_after[0], f"gone; the undo pulls {self.reference}"

    def observe(self, work: Work) -> Observed:
        """Look whether it is there, under which tags, and still used by nobody."""
        return _partly(self, self.tags, super().observe(work), work)

    def _other(self, found: Kept) -> str:
        return _other_tags(self.tags, found)

    def apply(self, work: Work) -> str:
        """Remove it by all of its tags, and measure what comes free."""
        return _removed(self, self.tags, work)

    def revert(self, work: Work) -> None:
        """Pull it again, under its tags."""
        store_of(work).pull(self.reference, self.known, self.tags)


class RemoveSavedImage(Removal):
    """Save an image into a file, then remove it: no registry gives it back.

    Args:
        tags: Its tags.
        file: The file; the undo needs it.
    """

    kind: ClassVar[str] = "disk.remove_saved_image"
    what: ClassVar[Kind] = "image"
    but: ClassVar[str] = ", as long as its file is there"

    tags: tuple[str, ...]
    file: Path

    @property
    def title(self) -> str:
        """What the change does."""
        return f"save image {self.name} into a file, and remove it"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return super().before_and_after[0], f"gone; the undo loads {self.file}"

    @property
    def _draft(self) -> Path:
        return self.file.with_name(f"{self.file.name}.new")

    def observe(self, work: Work) -> Observed:
        """Look for the image and for its file."""
        seen = _partly(self, self.tags, super().observe(work), work)
        if seen.standing is Standing.AFTER and not self.file.exists():
            return Observed(Standing.OTHER, f"{seen.detail}, nor its file {self.file}")
        if seen.standing is Standing.BEFORE and (self.file.exists() or self._draft.exists()):
            return Observed(Standing.HALF, f"{seen.detail}; its file {self.file} was begun")
        return seen

    def _other(self, found: Kept) -> str:
        return _other_tags(self.tags, found)

    def apply(self, work: Work) -> str:
        """Save it, unless it is saved, then remove it and measure what comes free."""
        store = store_of(work)
        freed = Freed(store)  # a file on the same disk takes of it
        if not self.file.exists():
            store.save(self.known, self.file)
        faults.point(f"{self.kind}:saved")
        store.remove(self.what, self.known, self.tags)
        return freed.sentence()

    def revert(self, work: Work) -> None:
        """Load it, under its tags; the file goes."""
        store_of(work).load(self.file, self.known, self.tags)
        faults.point(f"{self.kind}:loaded")
        self.file.unlink(missing_ok=True)
        self._draft.unlink(missing_ok=True)


class RemoveBuiltImage(Removal):
    """Remove an image that was built here, for good.

    Args:
        tags: Its tags.
    """

    kind: ClassVar[str] = "disk.remove_built_image"
    what: ClassVar[Kind] = "image"
    reverts: ClassVar[Reverts] = "impossible"
    asked_each_time: ClassVar[bool] = True

    tags: tuple[str, ...]

    def observe(self, work: Work) -> Observed:
        """Look whether it is there, under which tags, and still used by nobody."""
        return _partly(self, self.tags, super().observe(work), work)

    def _other(self, found: Kept) -> str:
        return _other_tags(self.tags, found)

    def apply(self, work: Work) -> str:
        """Remove it by all of its tags, and measure what comes free."""
        return _removed(self, self.tags, work)


def _removed(change: Removal, tags: tuple[str, ...], work: Work) -> str:
    store = store_of(work)
    freed = Freed(store)
    store.remove(change.what, change.known, tags)
    return freed.sentence()


def _other_tags(tags: tuple[str, ...], found: Kept) -> str:
    """Say that an image has other tags by now; some gone are for `_partly` to judge."""
    more = sorted(set(found.tags) - set(tags))
    return f"is also {', '.join(more)} by now" if more else ""


def _partly(change: Removal, tags: tuple[str, ...], seen: Observed, work: Work) -> Observed:
    """See where some of an image's tags are gone: by us, or by somebody else."""
    if seen.standing is not Standing.BEFORE:
        return seen
    store = store_of(work)
    found = store.find(change.what, change.known)
    missing = sorted(set(tags) - set(found.tags if found else ()))
    if work.begun_at:  # what somebody gave to another image meanwhile stays with that
        missing = [tag for tag in missing if store.find("image", tag) is None]
    if not missing:
        return seen
    standing = Standing.HALF if work.begun_at else Standing.OTHER
    return Observed(standing, f"image {change.name} is no longer {', '.join(missing)}")
