"""Who has a port of the engine's machine."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from tasks.platforms.compose.engine import OF_SERVICE, Engine
from tasks.platforms.networks import EVERYWHERE

_PROXYING = "docker-proxy"


@dataclass(frozen=True, order=True)
class PortHolder:
    """A container or a process that has a port.

    Args:
        name: As 'container planner-db-1' or 'process 12 (postgres)'.
        service: The service that it is a container of, '' for none.
    """

    name: str
    service: str = ""

    def __str__(self) -> str:
        """Name it for a person."""
        return f"{self.name} (service {self.service})" if self.service else self.name


def who_has(
    engine: Engine, port: int, address: str = "", own: Collection[str] = ()
) -> list[PortHolder]:
    """Say who has a port of the machine.

    Args:
        engine: The engine; of one on another machine only the containers are seen.
        port: The machine's port.
        address: At which address, '' for any.
        own: Ids of containers that may have it.

    Returns:
        Containers that are published there; else the processes that listen, but for those by
        which the engine publishes what is of `own`. None where nobody is seen.

    Raises:
        Transient: The engine does not answer.
    """
    with engine.client() as client:
        there = [one for one in client.api.containers() if _publishes(one, port, address)]
    others = [
        PortHolder(
            f"container {one['Names'][0].removeprefix('/')}",
            (one["Labels"] or {}).get(OF_SERVICE, ""),
        )
        for one in there
        if one["Id"] not in own
    ]
    if others or not engine.is_local:
        return sorted(others)
    return sorted(_processes(port, address, published=bool(there)))


def _publishes(one: Mapping[str, Any], port: int, address: str) -> bool:
    return any(
        said.get("PublicPort") == port
        and said["Type"] == "tcp"
        and _meet(said.get("IP") or "", address)
        for said in one["Ports"]
    )


def _processes(port: int, address: str, *, published: bool) -> set[PortHolder]:
    found = set()
    for one in psutil.net_connections("tcp"):
        if one.status != psutil.CONN_LISTEN or not one.laddr or one.laddr.port != port:
            continue
        if not _meet(one.laddr.ip, address):
            continue
        name = ""
        with suppress(psutil.Error):
            name = psutil.Process(one.pid).name() if one.pid else ""
        if published and name in ("", _PROXYING):  # the engine's, which others do not see
            continue
        seen = f"process {one.pid} ({name})" if name else "a process that is not seen from here"
        found.add(PortHolder(seen))
    return found


def _meet(one: str, other: str) -> bool:
    """Say whether two listeners at addresses stand in each other's way."""
    return one == other or one in EVERYWHERE or other in EVERYWHERE
