"""The capability of disks: how full they are where a target's data lies, and what holds room."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

Kind = Literal["image", "container", "volume", "network", "build cache"]


@dataclass(frozen=True)
class Place:
    """Where something lies, and the file system under it.

    Args:
        what: What lies there, as 'database'.
        path: Its folder.
        size, free: Bytes of the file system, and those free for who is no superuser.
        inodes, inodes_free: Its inodes; 0 where the file system has no fixed number.
        device: Number of the file system on this machine, None elsewhere.
    """

    what: str
    path: str
    size: int
    free: int
    inodes: int
    inodes_free: int
    device: int | None = None


@dataclass(frozen=True)
class DeletedFile:
    """A file without a name that a process still holds open: its room comes free with that.

    Args:
        path: The name that it had.
        size: Bytes that it takes on the disk.
        holders: The processes, as 'postgres (4711)'.
    """

    path: str
    size: int
    holders: tuple[str, ...]


@dataclass(frozen=True)
class DeletedFiles:
    """The deleted files that are still open, and how many processes could not be looked into."""

    files: tuple[DeletedFile, ...]
    unseen: int


class Disks(Protocol):
    """The disks on which a target's data lies."""

    def places(self) -> tuple[tuple[Place, ...], tuple[str, ...]]:
        """Measure where database, backups and engine keep their data.

        Returns:
            The places, and a sentence for each that cannot be measured from here.
        """

    def deleted_files(self) -> DeletedFiles | None:
        """Find deleted files that are still open there; None where that machine is elsewhere."""


@dataclass(frozen=True)
class Kept:
    """Something that an engine keeps on its disk.

    Args:
        kind: What it is.
        id: By which it is known; a volume's and a network's is its name.
        name: What people call it.
        size: Its bytes, with those that it shares.
        shared: Bytes that it shares with others of its kind.
        since: When it was made here, pulled, tagged or ended: the latest of them.
        last_used: When it was used last; None where the engine does not know.
        labels: Its labels.
        used_by: Why it stays: containers that have it, compose files that name it.
        tags: An image's tags.
        digests: What an image can be pulled by, as name@sha256:...
        made: What a volume or network is made anew from; empty where that cannot be.
        is_empty: Whether there is nothing in a volume; None where nobody could look.
    """

    kind: Kind
    id: str
    name: str
    size: int = 0
    shared: int = 0
    since: datetime | None = None
    last_used: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    used_by: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    made: str = ""
    is_empty: bool | None = None

    @property
    def own(self) -> int:
        """Bytes that come free with it alone."""
        return max(self.size - self.shared, 0)


@dataclass(frozen=True)
class LogFile:
    """The log of a container.

    Args:
        container: Its name.
        project, service: Of which service of which compose project; '' for none.
        driver: How it is kept, as 'json-file'.
        size: Bytes of its files; None where it is none of this machine.
        most: What bounds it, as '10m x 3'; '' for nothing.
    """

    container: str
    project: str
    service: str
    driver: str
    size: int | None
    most: str


@dataclass(frozen=True)
class Stored:
    """All that an engine keeps on its disk.

    Args:
        items: Everything but logs.
        unread: Sentences about what could not be read, so that its use is not known.
    """

    items: tuple[Kept, ...]
    unread: tuple[str, ...]


class EngineStore(Protocol):
    """What a Docker engine keeps on its disk, of everybody who uses it."""

    project: str

    def look(self) -> Stored:
        """Look at all of it, with sizes, and with who uses it."""

    def logs(self) -> tuple[LogFile, ...]:
        """Look at the containers' logs."""

    def root(self) -> Place | None:
        """Measure the file system of the engine's data; None where that cannot be."""

    def find(self, kind: Kind, known: str) -> Kept | None:
        """Look at one object as it is now, without its size; None where it is gone.

        Only what containers have counts as its use here.
        """

    def left_of_cache(self, records: tuple[str, ...]) -> tuple[str, ...]:
        """Give those of some records of the build cache that are there and not in use."""

    def can_be_pulled(self, reference: str) -> bool | None:
        """Ask an image's registry whether it still has it; None where it does not answer."""

    def remove(self, kind: Kind, known: str, names: tuple[str, ...] = ()) -> None:
        """Remove an object, never by force; an image by all of its names; gone is fine.

        Raises:
            PreconditionFailed: The engine refuses: it is in use.
        """

    def remove_cache(self, records: tuple[str, ...]) -> None:
        """Remove records of the build cache."""

    def pull(self, reference: str, known: str, tags: tuple[str, ...]) -> None:
        """Pull an image again, and give it its tags, unless they are another's by now.

        Raises:
            PreconditionFailed: The registry gives none or another one.
        """

    def save(self, known: str, file: Path) -> None:
        """Save an image into a file, packed, whole or not at all."""

    def load(self, file: Path, known: str, tags: tuple[str, ...]) -> None:
        """Load an image from such a file, and give it its tags."""

    def make(self, kind: Kind, known: str, made: str) -> None:
        """Make a volume or network anew; there already is fine."""

    def services(self) -> dict[str, tuple[str, ...]]:
        """Give the ids of the containers of each of the project's services."""

    def named(self) -> tuple[str, ...]:
        """Give what the project's compose files name and is there, by kind and name."""


class OnDisks(Protocol):
    """The part of a target that says what its disks hold."""

    @property
    def disks(self) -> Disks:
        """The disks on which its data lies."""

    @property
    def engine_store(self) -> EngineStore:
        """What the Docker engine that it runs on keeps on its disk."""
