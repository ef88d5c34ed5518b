"""The capability of containers: how those of a service stand, stood, end, and are checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class HealthCheck:
    """A container's health check; times in seconds.

    Args:
        test: 'CMD' with program and arguments, or 'CMD-SHELL' with a line for the shell.
        interval: From the end of one to the next.
        timeout: After which one has failed.
        start_period: While failures do not count.
        retries: How many failures in a row make it unhealthy.
    """

    test: tuple[str, ...] = field(repr=False)
    interval: float
    timeout: float
    start_period: float
    retries: int

    @property
    def patience(self) -> float:
        """How long after its start a container is called unhealthy at the earliest."""
        return self.start_period + self.retries * self.interval


@dataclass(frozen=True)
class ServiceContainer:
    """A container of a service; times are Unix times of the engine's machine, 0 for never.

    Args:
        id: Its id.
        name: Its name.
        image: Id of its image.
        image_name: What it was made of, as its definition calls it.
        made_from: Fingerprint of the definition that it was made from.
        status: 'running', 'restarting', 'exited', 'created', ...
        exit_code: What it ended with last.
        error: Why the engine could not start it, '' otherwise.
        out_of_memory: Whether its last end was for want of memory.
        restarts: How often the engine has started it again since somebody did.
        restarts_itself: Whether the engine starts it again when it has ended.
        started: When it was started last.
        finished: When it ended last.
        health: 'healthy', 'starting', 'unhealthy', '' without a check.
        checked_well: When a health check was passed last, as far as is kept.
        check: Its health check, None without one.
        command: What is run in it.
        ports: Ports of the machine that it is to be reached at.
        environment: What it was made with; values of secrets among it.
    """

    id: str
    name: str
    image: str
    image_name: str
    made_from: str
    status: str
    exit_code: int
    error: str
    out_of_memory: bool
    restarts: int
    restarts_itself: bool
    started: float
    finished: float
    health: str
    checked_well: float
    check: HealthCheck | None
    command: tuple[str, ...] = field(repr=False)
    ports: tuple[int, ...]
    environment: Mapping[str, str] = field(repr=False)

    @property
    def runs(self) -> bool:
        """Whether its processes are at work."""
        return self.status == "running"


@dataclass(frozen=True)
class ContainerEvent:
    """Something that the engine says has happened to a container.

    Args:
        at: When, as Unix time.
        what: 'start', 'die', 'oom', 'kill', 'health_status: healthy', ...
        container: Id of the container.
        image: Id of its image, '' where the engine does not say.
        signal: The signal that somebody had sent to it, '' for none.
    """

    at: float
    what: str
    container: str
    image: str
    signal: str


@dataclass(frozen=True)
class Image:
    """An image that an engine has.

    Args:
        id: Its id.
        names: What it is called there; none where another has taken its name.
        created: When it was built, as the engine says it.
    """

    id: str
    names: tuple[str, ...]
    created: str


class Containers(Protocol):
    """The containers of a project's services."""

    def now(self) -> float:
        """Give the time of the engine's machine."""

    def of(self, service: str) -> list[ServiceContainer]:
        """Look at a service's containers, those that do not run too."""

    def log(self, container: str, lines: int, since: float) -> str:
        """Read the last lines that a container wrote; values of secrets may be among them.

        Args:
            container: Its id.
            lines: How many.
            since: Only what was written later, as Unix time.
        """

    def events(self, service: str) -> list[ContainerEvent]:
        """Give what the engine still knows to have happened to a service's containers."""

    def image(self, known_as: str) -> Image | None:
        """Look for an image by its id or name; None where the engine has none."""

    def name_image(self, image: str, name: str) -> None:
        """Give an image one more name."""

    def unname_image(self, name: str, otherwise: str) -> None:
        """Take a name away; the image that it named stays.

        Args:
            name: The name.
            otherwise: Id of another image, which has a name of its own.
        """

    def holders(self, port: int) -> list[str]:
        """Say who is reached at a port of the machine, as far as can be seen."""


class Contained(Protocol):
    """What a target has whose services run in containers."""

    @property
    def containers(self) -> Containers:
        """The containers of its services."""
