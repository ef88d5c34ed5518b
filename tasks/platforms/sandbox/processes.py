"""The sandbox's processes of the application, found by who listens at their ports."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from tasks.platforms.local_processes import look_at, memory_of
from tasks.platforms.processes import Part, Process, Profile, Start
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

    def used(self) -> dict[Start, int]:
        """Measure the memory of each with what is below it.

        Returns:
            Bytes by name and start.
        """
        found: dict[Start, int] = {}
        for name, one in self._listening().items():
            measured = [memory_of(process) or 0 for process in _with_those_below(name, one)]
            if measured:
                found[name, str(one.create_time())] = sum(measured)
        return found

    def here(self) -> list[Process]:
        """Find them, and those below them.

        Returns:
            One for each.
        """
        found = []
        for name, one in self._listening().items():
            found += _with_those_below(name, one)
        return found

    def share(self, process: Process) -> int | None:
        """Measure a process's share of the memory: bytes (PSS), None where it has ended."""
        return memory_of(process)

    def record(
        self, processes: Sequence[Process], seconds: float, rate: int, most: int
    ) -> list[Profile]:
        """Look at what the busiest Python processes do, from outside, without stopping them."""
        return record(busiest(processes)[:most], seconds, rate)

    def _listening(self) -> dict[str, psutil.Process]:
        found = {}
        for name, url in self._urls.items():
            with suppress(psutil.NoSuchProcess):  # it has ended just now
                if (one := listener(url)) is not None:
                    found[name] = one
        return found


def _with_those_below(name: str, one: psutil.Process) -> list[Process]:
    with suppress(psutil.NoSuchProcess):
        return look_at(name, [one.pid, *(child.pid for child in one.children(recursive=True))])
    return []
