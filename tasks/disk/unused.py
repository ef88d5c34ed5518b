"""What of an engine's disk nobody needs, and why everything else stays."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.platforms.disks import Kept


class Fate(enum.StrEnum):
    """What becomes of something that nobody uses."""

    PULL = "goes; can be pulled again"
    SAVE = "goes; saved to a file before"
    LOSE = "goes for good"
    AGAIN = "goes; made anew by the undo"
    REBUILD = "goes; builds fill it again"


@dataclass(frozen=True)
class Rule:
    """What may go.

    Args:
        older_than: Only what was made, pulled, tagged or used longer ago.
        built_here: Whether images may go that no registry gives back.
        save_to: Folder into which such images are saved before; '' for none.
        stopped_containers: Whether containers may go that have ended.
        only_label: Only what has this label, as 'name' or 'name=value'; '' for all.
    """

    older_than: timedelta
    built_here: bool
    save_to: str
    stopped_containers: bool
    only_label: str

    def covers(self, item: Kept) -> bool:
        """Say whether an object has the label that it is limited to."""
        name, is_given, value = self.only_label.partition("=")
        return not name or (name in item.labels and (not is_given or item.labels[name] == value))

    def leaves(self, item: Kept, now: datetime) -> str:
        """Say that an object is too young, or may be; '' where it is old enough."""
        if not self.older_than:
            return ""
        if item.since is None:
            return "since when it is here cannot be told; older_than_days=0 does not ask"
        is_young = max(item.since, item.last_used or item.since) > now - self.older_than
        return f"made or used less than {self.older_than.days} days ago" if is_young else ""


@dataclass(frozen=True)
class Verdict:
    """What becomes of an object.

    Args:
        item: The object.
        fate: What becomes of it; None where it stays.
        why: Why it stays, or may go.
        reference: What an image is pulled by again.
    """

    item: Kept
    fate: Fate | None
    why: str
    reference: str = ""


def judge(
    items: Sequence[Kept], rule: Rule, now: datetime, can_be_pulled: Callable[[str], bool]
) -> list[Verdict]:
    """Judge every object.

    Args:
        items: What the engine keeps.
        rule: What may go.
        now: The present time, UTC.
        can_be_pulled: Asks a registry whether it still has an image.

    Returns:
        A verdict for each: what is nobody's goes, dangling images and the build cache first,
        and last what cannot be had back.
    """
    found = [_judge(one, rule, now, can_be_pulled) for one in items]
    return sorted(found, key=_turn)


def _turn(verdict: Verdict) -> tuple[bool, bool, bool, str, str]:
    item = verdict.item
    first = item.kind == "build cache" or (item.kind == "image" and not item.tags)
    return verdict.fate is None, verdict.fate is Fate.LOSE, not first, item.kind, item.name


def _judge(item: Kept, rule: Rule, now: datetime, can_be_pulled: Callable[[str], bool]) -> Verdict:
    if why := _why_it_stays(item, rule, now):
        return Verdict(item, None, why)
    why = f"nobody uses it, nor did for {rule.older_than.days:,} days"
    why = why if rule.older_than else "nobody uses it"
    if item.kind == "build cache":
        return Verdict(item, Fate.REBUILD, why)
    if item.kind in ("volume", "network"):
        empty = "it is empty and has no name, " if item.kind == "volume" else ""
        return Verdict(item, Fate.AGAIN, f"{empty}{why}")
    if item.kind == "container":
        return Verdict(item, Fate.LOSE, f"it has ended, and belongs to no compose project; {why}")
    return _judge_image(item, rule, can_be_pulled, why)


def _judge_image(item: Kept, rule: Rule, can_be_pulled: Callable[[str], bool], why: str) -> Verdict:
    what = "it has no tag; " if not item.tags else ""
    for reference in item.digests:
        if can_be_pulled(reference):
            return Verdict(item, Fate.PULL, f"{what}{why}", reference)
    if not rule.built_here:
        lost = "no registry gives it back" if item.digests else "it was built here"
        return Verdict(item, None, f"{lost}: built_here=True takes it; {what}{why}")
    return Verdict(item, Fate.SAVE if rule.save_to else Fate.LOSE, f"{what}{why}")


def _why_it_stays(item: Kept, rule: Rule, now: datetime) -> str:
    """Say why an object stays whatever is allowed; '' where it may go."""
    if item.used_by:
        return "; ".join(item.used_by[:3])
    if not rule.covers(item):
        return f"it has no label {rule.only_label}"
    if young := rule.leaves(item, now):
        return young
    if item.kind == "volume":
        return _why_a_volume_stays(item)
    if item.kind == "container" and not rule.stopped_containers:
        return "what it wrote beside volumes would be lost: stopped_containers=True takes it"
    return ""


def _why_a_volume_stays(volume: Kept) -> str:
    if not volume.made:
        return "it has a name or a driver of its own: only its owner knows what it is for"
    if volume.is_empty is None:
        return "whether it is empty cannot be seen from here"
    return "" if volume.is_empty else "it holds data"
