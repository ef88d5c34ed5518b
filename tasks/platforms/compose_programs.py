"""The capability of compose programs: which there are on the worker's machine, and another one."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.platforms.definitions import Program, Reading

RELEASE = r"^((https?:/)?/[A-Za-z0-9][A-Za-z0-9/._:+~%-]*)?$"  # a path or a URL, or neither
SHA256 = r"^([0-9a-f]{64})?$"


@dataclass(frozen=True)
class Installed:
    """A compose program on the worker's machine.

    Args:
        path: Where it is.
        version: What it says that it is, '' where it does not run.
        digest: SHA-256 of its file.
        link: Where it leads to, where it is a symbolic link; '' otherwise.
        package: The machine's package that it belongs to; '' for none.
        newest: The version of that package that the machine can have; '' where none is newer.
        writable: Whether we may put another one in its place.
    """

    path: str
    version: str
    digest: str
    link: str
    package: str
    newest: str
    writable: bool


class ComposePrograms(Protocol):
    """The compose programs of the worker's machine.

    Args:
        wanted: Path or URL of the one that the target names, and its SHA-256; '' for none.
    """

    wanted: tuple[str, str]

    def installed(self) -> list[Installed]:
        """Find them in the order in which they are looked for: the first one is used."""

    def place(self) -> str:
        """Say where another one goes to be used in the place of the present one.

        Raises:
            PreconditionFailed: We may write to no such place.
        """

    def at(self, path: str) -> tuple[str, str]:
        """Give the SHA-256 of what is at a path, and where it leads as a link; '' for nothing."""

    def fetched(self, source: str, digest: str) -> AbstractContextManager[Path]:
        """Have a program from elsewhere on this machine while a block runs, known by its hash.

        Args:
            source: Path or URL.
            digest: Its SHA-256.

        Raises:
            PreconditionFailed: It cannot be had, or is another one.
        """

    def reads(self, program: Path) -> tuple[Program, Reading]:
        """Have another program read the project's files.

        Raises:
            PreconditionFailed: It does not run here.
        """

    def is_begun(self, path: str, mark: str) -> bool:
        """Say whether what an installation keeps or drafts beside a place is there.

        Args:
            path: The place.
            mark: Part of the names of what lies beside it.
        """

    def install(self, source: str, digest: str, path: str, mark: str) -> None:
        """Put a program where it is used, whole or not at all, and keep what is there.

        Args:
            source: Path or URL of it.
            digest: Its SHA-256.
            path: Where it goes.
            mark: Part of the name under which the old one is kept beside it.

        Raises:
            LeaseLost: The lease ran out; the old one is there.
            PreconditionFailed: It cannot be had or written; the old one is there.
        """

    def put_back(self, digest: str, path: str, mark: str) -> None:
        """Put back what was kept, the very file; remove ours where there was none.

        Args:
            digest: SHA-256 of ours.
            path: Where it went.
            mark: Part of the name under which the old one is kept.
        """
