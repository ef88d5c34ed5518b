"""Bytes as people read them, and what takes how much of a disk as a chart."""

import re
from collections.abc import Iterable, Mapping

from tasks.guardrails.plan import Finding
from tasks.guardrails.words import bar
from tasks.platforms.disks import EngineStore, Place

_FREED = re.compile(r"^(-?[\d,]+) bytes came free")


def megabytes(size: float) -> str:
    """Write bytes as megabytes, without the unit."""
    return f"{size / 1e6:,.1f}"


def chart(sizes: Mapping[str, int]) -> Finding:
    """Draw what takes how much.

    Args:
        sizes: Bytes by what takes them.

    Returns:
        A finding with a bar for each, the longest first.
    """
    total = sum(sizes.values()) or 1
    ranked = sorted(sizes.items(), key=lambda one: (-one[1], one[0]))
    return Finding(
        what=f"What was measured takes {megabytes(sum(sizes.values()))} MB.",
        how="each by itself, as the findings below say",
        columns=("what", "share", "MB"),
        rows=tuple((what, bar(size / total), megabytes(size)) for what, size in ranked),
    )


class Freed:
    """What comes free on an engine's disk while something is done, seen by its file system.

    Args:
        store: The engine's store.
    """

    def __init__(self, store: EngineStore) -> None:
        """Measure before it."""
        self._store, self._before = store, store.root()

    def sentence(self) -> str:
        """Measure after it, and say the difference; others write to the same disk meanwhile."""
        after = self._store.root()
        if self._before is None or after is None:
            return "how much came free cannot be measured from here"
        freed = after.free - self._before.free
        return (
            f"{freed:,} bytes came free on the disk of {after.path}: {megabytes(after.free)} MB "
            f"are free, {megabytes(self._before.free)} MB were before"
        )


def add_up(sentences: Iterable[str]) -> int:
    """Add up what `Freed` said."""
    found = (_FREED.match(one) for one in sentences)
    return sum(int(one[1].replace(",", "")) for one in found if one)


def describe_freed(freed: int, many: int, place: Place | None) -> Finding:
    """Say what came free in all.

    Args:
        freed: Bytes, as they were measured around each removal.
        many: How many removals there were.
        place: The engine's disk now.
    """
    now = f" {megabytes(place.free)} MB are free on it now." if place else ""
    return Finding(
        what=f"{megabytes(freed)} MB came free on the engine's disk by {many} removals.{now}",
        how="free bytes of the file system before and after each removal; others write to it "
        "meanwhile",
    )
