"""The capability of processes: those that serve the application, as its machine sees them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

Start = tuple[str, str]  # name of a part, and when it was started, as the platform says it


@dataclass(frozen=True)
class Part:
    """A process with those below it, or a container.

    Args:
        name: Its name.
        started_at: When it was started last, as the platform says it: another start is another one.
        limit: The most memory that it may use, in bytes; 0 for no limit.
        kills: Processes that were killed in it for want of memory, None if unknown.
        out_of_memory: Whether its last end was for want of memory.
    """

    name: str
    started_at: str
    limit: int
    kills: int | None
    out_of_memory: bool


@dataclass(frozen=True)
class Process:
    """A process of a part.

    Args:
        part: Name of the part.
        pid: Its number on this machine.
        started_at: When it was started: another one may be given its number later.
        program: Name of its program, without arguments; another one's by `exec`.
    """

    part: str
    pid: int
    started_at: float
    program: str = field(compare=False)


@dataclass(frozen=True)
class Profile:
    """What a process was seen to do.

    Args:
        process: It.
        cores: CPU time that it used in a second, in seconds.
        folder: The folder that it works in, as it sees it; '' if unknown.
        stacks: A line for each stack: its frames, `;` between them, and how often it was seen.
        errors: Looks that could not be made sense of.
        unread: Why nothing was seen; '' where something was.
        ended: Whether it ended meanwhile: what it used is unknown then, and `cores` 0.
    """

    process: Process
    cores: float
    folder: str
    stacks: str
    errors: int
    unread: str
    ended: bool


class Processes(Protocol):
    """The processes that serve the application."""

    def parts(self) -> list[Part]:
        """Look at each replica."""

    def used(self) -> dict[Start, int]:
        """Measure the memory of each that runs: bytes by its start, without the page cache."""

    def here(self) -> list[Process]:
        """Find the processes on this machine.

        Raises:
            PreconditionFailed: They are on another one.
        """

    def share(self, process: Process) -> int | None:
        """Measure a process's share of the memory.

        Args:
            process: One that was found here.

        Returns:
            Bytes: its own pages, and its part of those that it shares (PSS); None where it has
            ended, or is closed to us.
        """

    def record(
        self, processes: Sequence[Process], seconds: float, rate: int, most: int
    ) -> list[Profile]:
        """Look at what the busiest Python processes do, from outside, without stopping them.

        Args:
            processes: Some that were found here.
            seconds: For how long.
            rate: How many looks are taken in a second.
            most: How many of them are looked at.

        Returns:
            What was seen of each, the busiest first.

        Raises:
            PreconditionFailed: What looks at them cannot be had here.
        """


class OfProcesses(Protocol):
    """What a target has whose application's processes can be looked at."""

    @property
    def processes(self) -> Processes:
        """The processes that serve the application."""
