"""The sandbox's processes of the application, found by who listens at their ports."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from tasks.platforms.local_processes import look_at, memory_of
from tasks.platforms.processes import Part, Process, Profile
from tasks.platforms.py_spy import busiest, record
from tasks.platforms.sandbox.replicas import listener


class LocalProcesses:
    """Processes of this machine that serve the application.

    Args:
        urls: URL of each by its name.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        """Keep where they are; asks nothing."""
        self._urls = dict(urls)

    def parts(self) -> list[Part]:
        """Look at each that listens.

        Returns:
            The processes; what they may use is what the machine has.

        Raises:
            PreconditionFailed: Who listens cannot be seen.
        """
        return [
            Part(name, str(one.create_time()), 0, None, out_of_memory=False)
            for name, one in self._listening().items()
        ]

    def used(self) -> dict[str, int]:
        """Measure the memory of each with what is below it.

        Returns:
            Bytes by name.
        """
        found: dict[str, int] = {}
        for one in self.here():
            found[one.part] = found.get(one.part, 0) + (memory_of(one.pid) or 0)
        return found

    def here(self) -> list[Process]:
        """Find them, and those below them.

        Returns:
            One for each.
        """
        found = []
        for name, one in self._listening().items():
            with suppress(psutil.NoSuchProcess):
                below = [child.pid for child in one.children(recursive=True)]
                found += look_at(name, [one.pid, *below])
        return found

    def share(self, process: Process) -> int | None:
        """Measure a process's share of the memory: bytes (PSS), None where it has ended."""
        return memory_of(process.pid)

    def record(
        self, processes: Sequence[Process], seconds: float, rate: int, most: int
    ) -> list[Profile]:
        """Look at what the busiest Python processes do, from outside, without stopping them."""
        return record(busiest(processes)[:most], seconds, rate)

    def _listening(self) -> dict[str, psutil.Process]:
        found = {name: listener(url) for name, url in self._urls.items()}
        return {name: one for name, one in found.items() if one is not None}
