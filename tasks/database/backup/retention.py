"""Which backups are kept, and moving the others into the trash, until a date.

Source of the usual way: grandfather-father-son rotation.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from tasks.database.backup.backups import Backup, read_backup, time_of
from tasks.database.backup.manifest import ROLES_SUFFIX, SUFFIX
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Backups, Database, StoredBackup

_BOX = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class Retention:
    """What is kept.

    Args:
        days: Everything that is not older.
        weekly: The newest of each of so many weeks.
        monthly: The newest of each of so many months.
        sound: So many sound ones, however old.
    """

    days: int
    weekly: int
    monthly: int
    sound: int


def choose_kept(
    entries: Sequence[StoredBackup],
    stands: Callable[[str], bool],
    rule: Retention,
    now: datetime,
) -> dict[str, str]:
    """Choose what is kept by its age.

    Args:
        entries: The backups, newest first.
        stands: Whether one is proved and as it was then: only such a one stands for its week or
            month, and until there is one, all of it are kept. Asked only where another would go.
        rule: What is kept.
        now: The present time, UTC.

    Returns:
        Why, by the name of each that is kept.
    """
    times = {entry.name: time_of(entry)[0] for entry in entries}
    kept = {
        name: f"not older than {rule.days} days"
        for name, at in times.items()
        if at >= now - timedelta(days=rule.days)
    }
    for form, most, what in (("%G-%V", rule.weekly, "week"), ("%Y-%m", rule.monthly, "month")):
        spans: dict[str, list[str]] = {}
        for name, at in times.items():
            spans.setdefault(f"{at:{form}}", []).append(name)
        for which in sorted(spans, reverse=True)[:most]:
            for name in _up_to_one_that_stands(spans[which], stands, kept):
                kept.setdefault(name, f"of {what} {which}, up to the newest that is proved")
    return kept


def _up_to_one_that_stands(
    span: Sequence[str], stands: Callable[[str], bool], kept: Container[str]
) -> Iterator[str]:
    for at, name in enumerate(span):
        yield name
        if all(older in kept for older in span[at + 1 :]) or stands(name):
            return


def find_sound(
    database: Database, store: Backups, entries: Sequence[StoredBackup], many: int, table: str
) -> tuple[list[Backup], list[Backup]]:
    """Read backups to their end, newest first, until so many are sound.

    Args:
        database: Whose programs read archives.
        store: Where they lie.
        entries: The backups, newest first.
        many: How many sound ones are looked for.
        table: Name of the table with the schema's revision.

    Returns:
        The sound ones of the database, and the others: those that are not sound, and those that
        do not say of which database they are.
    """
    sound: list[Backup] = []
    others: list[Backup] = []
    for entry in entries:
        if len(sound) == many:
            break
        read = read_backup(database, store, entry, table)
        is_ours = read.database == database.name
        (sound if is_ours and not read.problem else others).append(read)
    return sound, others


def box_name(until: datetime, remediation: str) -> str:
    """Name a box of the trash by the time until which it is kept."""
    return f"{until.astimezone(UTC):{_BOX}}-{remediation}"


def maker_of(box: str) -> str:
    """Give the id of the remediation that a box of the trash is named after."""
    return box.rpartition("-")[2]


def is_over(box: str, now: datetime) -> bool:
    """Say whether the time of a box of the trash is over; one of another name's never is."""
    try:
        return datetime.strptime(box.rpartition("-")[0], _BOX).replace(tzinfo=UTC) < now
    except ValueError:
        return False


class DiscardBackup(Change):
    """Move a backup with what belongs to it into the trash.

    Args:
        name: Its name in the store.
        size: Its bytes.
        box: Box of the trash.
        until: Until when it stays there at least.
    """

    kind: ClassVar[str] = "database.discard_backup"
    permissions: ClassVar[tuple[str, ...]] = ("backups:write",)

    name: str
    size: int
    box: str
    until: datetime

    @property
    def title(self) -> str:
        """What the change does."""
        return f"move {self.name} into the trash"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"backup {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return (
            f"{self.name} ({self.size / 1e6:.1f} MB) is in the store",
            f"it is in the trash until {self.until:%Y-%m-%d %H:%M} UTC",
        )

    def observe(self, work: Work) -> Observed:
        """Look into the store and into the box."""
        store = targets.load(work.target).backups
        there = {entry.name: entry.size for entry in store.list()}
        away = store.discarded().get(self.box, {})
        if there.get(self.name, self.size) != self.size:
            return Observed(Standing.OTHER, f"{self.name} has {there[self.name]} bytes now")
        if self.name in there and not self._parts(away):
            return Observed(Standing.BEFORE, f"{self.name} is in the store")
        if self.name in away and not self._parts(there):
            return Observed(Standing.AFTER, f"{self.name} is in the trash")
        if self._parts(there) and self._parts(away):
            return Observed(Standing.HALF, f"{self.name} is in part in the trash")
        return Observed(Standing.OTHER, f"{self.name} is gone")

    def apply(self, work: Work) -> None:
        """Move it, the backup itself first."""
        store = targets.load(work.target).backups
        for name in self._parts([entry.name for entry in store.list()]):
            store.discard(name, self.box)

    def revert(self, work: Work) -> None:
        """Bring it back, the backup itself last: it is one again when it is whole."""
        store = targets.load(work.target).backups
        for name in reversed(self._parts(store.discarded().get(self.box, {}))):
            store.bring_back(name, self.box)

    def _parts(self, names: Sequence[str] | dict[str, int]) -> list[str]:
        return [self.name + end for end in ("", ROLES_SUFFIX, SUFFIX) if self.name + end in names]


class DestroyDiscarded(Change):
    """Remove a box of the trash whose time is over.

    Args:
        box: The box.
        names: The backups in it.
        size: Their bytes.
    """

    kind: ClassVar[str] = "database.destroy_discarded_backups"
    permissions: ClassVar[tuple[str, ...]] = ("backups:write",)
    reverts: ClassVar[Reverts] = "pointless"  # what is destroyed is gone; the others' undo goes on

    box: str
    names: tuple[str, ...]
    size: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"destroy box {self.box} of the trash for good"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return tuple(f"discarded backup {name}" for name in self.names)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{', '.join(self.names)} in the trash ({self.size / 1e6:.1f} MB)", "gone"

    def observe(self, work: Work) -> Observed:
        """Look into the trash."""
        away = targets.load(work.target).backups.discarded()
        if self.box not in away:
            return Observed(Standing.AFTER, f"there is no box {self.box}")
        if extra := set(away[self.box]) - set(self.names):
            return Observed(Standing.OTHER, f"also in {self.box}: {', '.join(sorted(extra))}")
        return Observed(Standing.BEFORE, f"{self.box} holds {len(away[self.box])} files")

    def apply(self, work: Work) -> None:
        """Remove it."""
        targets.load(work.target).backups.destroy(self.box)
