"""The capability of trials: commands run in a service's container, and beside it, for a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

NOT_EXECUTABLE, NOT_FOUND = 126, 127


@dataclass(frozen=True)
class Tried:
    """How a command ended; what it printed is not kept, as it may repeat values of secrets.

    Args:
        status: Its exit status; 126 and 127 where there is no such program to be run.
        seconds: How long it ran.
        ended: Whether it ended in time; otherwise it was ended.
    """

    status: int
    seconds: float
    ended: bool

    @property
    def passed(self) -> bool:
        """Whether it ended in time, and well."""
        return self.ended and self.status == 0

    @property
    def lacks_program(self) -> bool:
        """Whether the program was not there, or not to be run."""
        return self.ended and self.status in (NOT_EXECUTABLE, NOT_FOUND)

    def __str__(self) -> str:
        """Say it in a table."""
        if not self.ended:
            return f"no end within {self.seconds:.1f} s"
        if self.lacks_program:
            return f"no such program (status {self.status})"
        return f"status {self.status} after {self.seconds:.1f} s"


class Trials(Protocol):
    """Commands in containers, each for a limited time, as the engine runs a health check."""

    def inside(self, container: str, command: Sequence[str], seconds: float) -> Tried:
        """Run a command in a container that runs; it reads only, as what a health check runs.

        Args:
            container: Its id.
            command: Program and arguments; seen by whoever sees the container's processes.
            seconds: How long it may take.
        """

    def apart(self, container: str, command: Sequence[str], seconds: float) -> Tried:
        """Run a command in a throw-away container like another one, where nothing else runs.

        Args:
            container: Id of the other one.
            command: Program and arguments.
            seconds: How long it may take.
        """

    def reached_at(self, container: str, port: int) -> str:
        """Say where a container's port is reached from here, as host:port; '' for nowhere."""


class OnTrial(Protocol):
    """What a target has in whose containers commands can be tried."""

    @property
    def trials(self) -> Trials:
        """Commands in its containers."""
