"""The sound backups that stay: looked at again before others go, and afterwards."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from tasks.database.backup.backups import Backup
from tasks.database.backup.manifest import SUFFIX, checksum
from tasks.database.backup.retention import DestroyDiscarded, DiscardBackup
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Check, Limit, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Backups


class Staying(BaseModel):
    """A sound backup that stays.

    Args:
        name: Its name in the store.
        size: Its bytes.
        sha256: Its checksum when it was read to its end.
        proved: Whether a manifest stands beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    sha256: str
    proved: bool


class SoundBackupsStay(Limit):
    """Sound backups that stay, of those that were found.

    Args:
        backups: Those that were found.
        whole: Whether each is read to its end; else its size alone is looked at.
    """

    kind: ClassVar[str] = "database.sound_backups_stay"

    backups: tuple[Staying, ...]
    whole: bool

    @property
    def title(self) -> str:
        """What is limited."""
        return f"sound backups that stay, by their {'checksums' if self.whole else 'sizes'}"

    def measure(self, work: Work) -> float:
        """Count those that are as they were."""
        store = targets.load(work.target).backups
        return float(len(self.backups) - len(find_changed(store, self.backups, whole=self.whole)))


class SoundBackupsAreThere(Check):
    """The sound backups that stay are there, and sound.

    Args:
        backups: Those that were found.
    """

    kind: ClassVar[str] = "database.sound_backups_are_there"

    backups: tuple[Staying, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"{counted(len(self.backups), 'sound backup is', 'sound backups are')} in the store"

    def ask(self, work: Work) -> Answer:
        """Read each to its end."""
        changed = find_changed(targets.load(work.target).backups, self.backups, whole=True)
        if changed:
            return Answer(Verdict.NOT_HELD, f"gone or changed: {', '.join(changed)}")
        return Answer(Verdict.HELD, ", ".join(one.name for one in self.backups))


def keep_sound(
    sound: Sequence[Backup],
) -> tuple[tuple[SoundBackupsStay, ...], SoundBackupsAreThere]:
    """Give what makes sure that sound backups stay.

    What is moved can be moved back: their sizes are enough right before each move. All are read
    to their end when a plan begins, and right before each box of the trash is destroyed.

    Args:
        sound: The backups, read.

    Returns:
        The limits, and the check.
    """
    backups = tuple(
        Staying(name=one.name, size=one.size, sha256=one.sha256, proved=one.manifest)
        for one in sound
    )
    limits = tuple(
        SoundBackupsStay(
            backups=backups,
            whole=whole,
            guards=guards,
            at_least=len(backups),
            unit="backups",
        )
        for whole, guards in ((False, DiscardBackup.kind), (True, DestroyDiscarded.kind))
    )
    return limits, SoundBackupsAreThere(backups=backups)


def find_changed(store: Backups, backups: Sequence[Staying], *, whole: bool) -> list[str]:
    """Find backups that are not what they were.

    Args:
        store: Where they lie.
        backups: As they were.
        whole: Whether each is read to its end.

    Returns:
        The names of those that are gone, changed, unreadable, or not proved any more.
    """
    sizes = {entry.name: entry.size for entry in store.list()}
    return [
        one.name
        for one in backups
        if sizes.get(one.name) != one.size
        or (one.proved and one.name + SUFFIX not in sizes)
        or (whole and _checksum_of(store, one.name) != one.sha256)
    ]


def _checksum_of(store: Backups, name: str) -> str:
    try:
        with store.local(name) as path:
            return checksum(path)
    except (OSError, PreconditionFailed):  # gone since it was listed, or its disk gives it no more
        return ""
