"""Processes in the application's containers, as the engine's machine sees them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.memory import ComposeMemory, working_set
from tasks.platforms.compose.project import Project
from tasks.platforms.local_processes import look_at, memory_of, number_inside
from tasks.platforms.processes import Part, Process, Profile, Start
from tasks.platforms.py_spy import busiest, record

_OF_ITS_OWN = {"", "private"}  # a container that counts its processes by itself
_GONE = {404, 409}  # it was removed, or does not run, since it was listed


class ComposeProcesses:
    """Processes in the containers of a service.

    Args:
        project: The compose project.
        service: The application's service.
    """

    def __init__(self, project: Project, service: str) -> None:
        """Keep where they are; asks nothing."""
        self._project, self._service = project, service

    def parts(self) -> list[Part]:
        """Look at each container that runs.

        Returns:
            The containers, with the limits that engine and kernel say.

        Raises:
            Transient: The engine does not answer.
        """
        return [
            Part(one.container, one.started_at, one.limit, one.kills, one.out_of_memory)
            for one in ComposeMemory(self._project).use(self._service)
            if one.runs
        ]

    def used(self) -> dict[Start, int]:
        """Measure the memory of each that runs: what `docker stats` shows.

        Returns:
            Bytes by name and start, without inactive page cache.
        """
        found = {}
        for one in self._project.containers(self._service):
            if not one.runs:
                continue
            with self._project.engine.client() as client, suppress(NotFound):  # removed since
                start = _start_of(client, one.id)
                seen: dict[str, Any] = client.api.stats(one.id, stream=False, one_shot=True)
                used = working_set(seen["memory_stats"])
                if used is not None and _start_of(client, one.id) == start:
                    found[one.name, start] = used
        return found

    def here(self) -> list[Process]:
        """Find the processes in them by their numbers on this machine.

        Returns:
            One for each.

        Raises:
            PreconditionFailed: The engine is on another one, or in another container than we are.
        """
        engine = self._project.engine
        if not engine.is_local:
            raise PreconditionFailed(
                expected="the processes of the application on this machine.",
                found=f"they run where the engine is, {engine.url}.",
                todo="Run a worker there, with a target whose `engine_url` is unix://.",
            )
        found = []
        for one in self._project.containers(self._service):
            if one.runs:
                with engine.client() as client:
                    _insist_on_same_numbers(client, one.id, one.name)
                    pids = _pids_in(client, one.id)
                found += look_at(one.name, pids)
        return found

    def share(self, process: Process) -> int | None:
        """Measure a process's share of the memory: bytes (PSS), None where it has ended."""
        return memory_of(process)

    def record(
        self, processes: Sequence[Process], seconds: float, rate: int, most: int
    ) -> list[Profile]:
        """Look at what the busiest Python processes do, from outside, without stopping them."""
        return record(busiest(processes)[:most], seconds, rate)


def _start_of(client: DockerClient, container: str) -> str:
    return str(client.api.inspect_container(container)["State"]["StartedAt"])


def _insist_on_same_numbers(client: DockerClient, container: str, name: str) -> None:
    """Make sure that a process has the number here that the engine says: else it is another one."""
    with suppress(NotFound):  # removed since
        seen = client.api.inspect_container(container)
        first = seen["State"]["Pid"]
        if not first or seen["HostConfig"]["PidMode"] not in _OF_ITS_OWN:
            return
        if number_inside(first) == "1":
            return
        if client.api.inspect_container(container)["State"]["Pid"] == first:
            raise PreconditionFailed(
                expected="the processes of the application by the numbers that the engine says.",
                found=f"process {first} is the first of {name} for the engine, and is not here: "
                "one of us is in a container, or on another machine.",
                todo="Run a worker beside the engine; its own container needs `pid: host`.",
            )


def _pids_in(client: DockerClient, container: str) -> list[int]:
    try:
        shown = client.api.top(container, ps_args="-eo pid")
    except APIError as error:
        if error.status_code in _GONE:
            return []
        raise
    return [int(row[0]) for row in shown["Processes"] or []]
