"""Memory of a project's containers, as engine and kernel say it.

Sources: Docker Engine API 1.41 (ContainerStats, ContainerUpdate); Linux, cgroup-v1/memory and
cgroup-v2. The working set is what `docker stats` shows: use without inactive page cache.
"""

import re
import time
from typing import Any

import psutil
from docker.errors import APIError

from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.engine import OF_PROJECT, OF_SERVICE, Found
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.project import Project
from tasks.platforms.memory import HostMemory, MemoryUse

_DAYS = 7
# docker-compose of version 1 needs `--compatibility` before (1.29.2 heeds them without).
_HEEDS_DEPLOY = (1, 27)
# Version 2 of cgroups, then version 1: each program that prints them prints those there are.
_FILES = {
    "peak": ("memory.peak", "memory/memory.max_usage_in_bytes"),
    "limit": ("memory.max", "memory/memory.limit_in_bytes"),
    "kills": ("memory.events", "memory/memory.oom_control"),
}


class ComposeMemory:
    """Limits of memory of a project's services.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        """Keep where it is; asks nothing."""
        self._project, self._engine = project, project.engine

    @property
    def honours_deploy(self) -> bool:
        """Whether limits under `deploy` are in force where a container is made.

        Raises:
            PreconditionFailed: Compose does not say its version.
        """
        if "--compatibility" in self._project.files.command:
            return True
        found = re.match(r"v?(\d+)\.(\d+)", self._project.run("version", "--short"))
        return found is None or tuple(map(int, found.groups())) >= _HEEDS_DEPLOY

    def use(self, service: str) -> list[MemoryUse]:
        """Look at a service's containers.

        Args:
            service: Its name.

        Returns:
            One for each, whether it runs or not.

        Raises:
            Transient: The engine does not answer.
        """
        return [self._use(one) for one in self._project.containers(service)]

    def _use(self, found: Found) -> MemoryUse:
        with self._engine.client() as client:
            seen = client.api.inspect_container(found.id)
            state, configured = seen["State"], seen["HostConfig"]
            runs = state["Status"] == "running"
            used: dict[str, Any] = {}
            if runs:
                # Of one that ends meanwhile these are empty.
                used = client.api.stats(found.id, stream=False, one_shot=True)["memory_stats"]
        inside = {what: self._inside(found, what) if runs else "" for what in _FILES}
        kills = re.search(r"^oom_kill (\d+)", inside["kills"], re.MULTILINE)
        return MemoryUse(
            container=found.name,
            runs=runs,
            started_at=state["StartedAt"],
            limit=configured["Memory"],
            swap=configured["MemorySwap"],
            enforced=_number(inside["limit"]),
            working_set=working_set(used),
            peak=_number(inside["peak"]),
            kills=int(kills[1]) if kills else None,
            out_of_memory=bool(state["OOMKilled"]),
            restarts=seen["RestartCount"],
        )

    def _inside(self, found: Found, what: str) -> str:
        """Read what the kernel says of a container, by its own `cat`; '' where it has none."""
        with self._engine.client() as client:
            container = client.containers.get(found.id)
            for name in _FILES[what]:
                try:
                    status, said = said_inside(container, ["cat", f"/sys/fs/cgroup/{name}"])
                except APIError:  # it ended meanwhile
                    return ""
                if status == 0:
                    return said
        return ""

    def events(self, service: str) -> int:
        """Count the events of too little memory that the engine still knows of a service.

        Args:
            service: Its name.

        Returns:
            How many of the last seven days; it keeps the last 256 events of all kinds.

        Raises:
            Transient: The engine does not answer.
        """
        labels = [f"{OF_PROJECT}={self._project.name}", f"{OF_SERVICE}={service}"]
        until = int(time.time()) + 1
        with self._engine.client() as client:
            found = client.events(
                since=until - _DAYS * 24 * 3600,
                until=until,
                filters={"event": ["oom"], "label": labels},
                decode=True,
            )
            return sum(1 for _ in found)

    def host(self) -> HostMemory:
        """Look at the machine that the engine runs on.

        Raises:
            Transient: The engine does not answer.
        """
        with self._engine.client() as client:
            total = int(client.info()["MemTotal"])
        available = psutil.virtual_memory().available if self._engine.is_local else None
        return HostMemory(total, available)

    def limit(self, container: str, memory: int, swap: int) -> None:
        """Set a container's limit while it runs.

        Args:
            container: Its name.
            memory: The limit, in bytes.
            swap: The limit of memory and swap together; 0 to leave that to the engine.

        Raises:
            PreconditionFailed: The engine refuses.
            Transient: It does not answer.
        """
        insist_on_fence()
        with self._engine.client() as client:
            if swap:
                client.containers.get(container).update(mem_limit=memory, memswap_limit=swap)
            else:
                client.containers.get(container).update(mem_limit=memory)


def working_set(used: dict[str, Any]) -> int | None:
    """Give what the engine's statistics say is used, without inactive page cache.

    Args:
        used: Their part `memory_stats`.

    Returns:
        Bytes; None of what ends just now.
    """
    if "usage" not in used:
        return None
    known = used.get("stats", {})
    return int(used["usage"]) - int(known.get("total_inactive_file", known.get("inactive_file", 0)))


def _number(said: str) -> int | None:
    return int(said) if said.strip().isdigit() else None
