"""The capability of memory limits: what containers may use, use and were killed for."""

from dataclasses import dataclass
from typing import Protocol

UNLIMITED = -1


@dataclass(frozen=True)
class MemoryUse:
    """A container's memory, in bytes.

    Args:
        container: Its name.
        runs: Whether its processes are at work.
        started_at: When they were started last, as the engine says it.
        limit: The most that it may use, 0 for no limit.
        swap: The most of memory and swap together, -1 for no limit, 0 where that is not counted.
        enforced: The limit that the kernel enforces, None where it cannot be asked.
        working_set: What it uses without the page cache, None while it does not run.
        peak: The most that it has used since its start, page cache included; None if unknown.
        kills: Processes that were killed in it since its start, None if unknown.
        out_of_memory: Whether its last end was for want of memory.
        restarts: How often its engine has restarted it by itself.
    """

    container: str
    runs: bool
    started_at: str
    limit: int
    swap: int
    enforced: int | None
    working_set: int | None
    peak: int | None
    kills: int | None
    out_of_memory: bool
    restarts: int


@dataclass(frozen=True)
class HostMemory:
    """The memory of the machine that containers run on, in bytes.

    Args:
        total: All of it.
        available: What may still be used without swapping, None if unknown.
    """

    total: int
    available: int | None


class Memory(Protocol):
    """Limits of memory of a project's services."""

    @property
    def honours_deploy(self) -> bool:
        """Whether limits under `deploy` are in force where a container is made."""

    def use(self, service: str) -> list[MemoryUse]:
        """Look at a service's containers."""

    def events(self, service: str) -> int:
        """Count the events of too little memory that the engine still knows of a service."""

    def host(self) -> HostMemory:
        """Look at the machine."""

    def limit(self, container: str, memory: int, swap: int) -> None:
        """Set a container's limit while it runs.

        Args:
            container: Its name.
            memory: The limit.
            swap: The limit of memory and swap together; 0 to leave that to the engine.

        Raises:
            PreconditionFailed: The engine refuses.
        """


class Limited(Protocol):
    """What a target has whose containers have limits."""

    @property
    def memory(self) -> Memory:
        """The limits of memory."""
