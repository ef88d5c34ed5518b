"""The capability of scaling: how many containers serve the application, and what they would share.

Who shares the requests out is a proxy; it is told by name where only some are to get any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


def replicas_said(described: Mapping[str, Any]) -> int:
    """Give how many containers of a service its files ask for.

    Args:
        described: What they say of it, as the platform's program puts them together.
    """
    return int(described.get("scale") or (described.get("deploy") or {}).get("replicas", 1))


@dataclass(frozen=True)
class Serving:
    """A container of the application.

    Args:
        name: Its name.
        runs: Whether its processes are at work.
        led: Whether requests are led to it.
        addresses: Its addresses, as the database sees them.
    """

    name: str
    runs: bool
    led: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Busy:
    """What a container uses.

    Args:
        container: Its name.
        cpus: How many processors' time it uses.
        workers: How many of its processes have none below them: each has pools of its own.
    """

    container: str
    cpus: float
    workers: int


@dataclass(frozen=True)
class Processors:
    """The processors of the machine that containers run on.

    Args:
        count: How many there are.
        busy: How many of them are at work, None if unknown.
    """

    count: int
    busy: float | None


class Scaling(Protocol):
    """How many containers serve the application."""

    service: str

    @property
    def reached_by_address(self) -> bool:
        """Whether a container is reached from here without a port of the host."""

    def seen(self) -> list[Serving]:
        """Look at its containers, the oldest first."""

    def is_choosy(self) -> bool:
        """Say whether requests are led to containers by name, as while their number changes."""

    def obstacles(self) -> list[str]:
        """Say what keeps requests from being shared out, or led past one; none where nothing."""

    def processors(self) -> Processors:
        """Look at the machine's processors for a second."""

    def busy(self) -> list[Busy]:
        """Measure what each container that runs uses, for a second."""

    def add(self, count: int) -> None:
        """Make containers beside those that there are, and wait until each answers.

        Args:
            count: How many there shall be; those that there are stay as they are.

        Raises:
            PreconditionFailed: One does not come up.
        """

    def lead(self, names: Sequence[str] = ()) -> None:
        """Lead requests to some containers, and wait until those on the way elsewhere have ended.

        Args:
            names: Those that get some; all of the service, as they are now, where none is named.

        Raises:
            PreconditionFailed: The proxy refuses; it goes on as before.
            Transient: Requests on the way do not end.
        """

    def remove(self, names: Sequence[str]) -> None:
        """Stop containers in good order, and remove them; gone already is fine."""

    def reached(self) -> Mapping[str, frozenset[str]]:
        """Give the connections of the last minute by which the proxy has reached each container."""


class Scaled(Protocol):
    """What a target has whose application can be scaled."""

    @property
    def scaling(self) -> Scaling:
        """How many containers serve the application."""
