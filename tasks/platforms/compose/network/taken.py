"""Who has a port of the engine's machine."""

from collections.abc import Mapping
from typing import Any

import psutil

from tasks.platforms.compose.engine import OF_PROJECT, OF_SERVICE
from tasks.platforms.compose.project import Project
from tasks.platforms.networks import EVERYWHERE, Binding

_PROXYING = "docker-proxy"


def taken_by(project: Project, service: str, binding: Binding) -> str:
    """Say who else has a port of the machine.

    Args:
        project: The compose project.
        service: The service that shall have it.
        binding: The port, and at which address.

    Returns:
        Who, '' where nobody is seen.

    Raises:
        Transient: The engine does not answer.
    """
    with project.engine.client() as client:
        listed = [_found_ports(one) for one in client.api.containers()]
    ours = {OF_PROJECT: project.name, OF_SERVICE: service}
    own = set()
    for name, labels, bindings in listed:
        for one in bindings:
            if ours.items() <= labels.items():
                own.add((one.address, one.outside))
            elif one.outside == binding.outside and _meet(one.address, binding.address):
                return f"container {name}"
    return _process_at(binding, own) if project.engine.is_local else ""


def _process_at(binding: Binding, own: set[tuple[str, int]]) -> str:
    """Name a process that listens there, those by which the engine publishes ports left out."""
    for one in psutil.net_connections("tcp"):
        if one.status != psutil.CONN_LISTEN or not one.laddr:
            continue
        if one.laddr.port != binding.outside or not _meet(one.laddr.ip, binding.address):
            continue
        try:
            name = psutil.Process(one.pid).name() if one.pid else ""
        except psutil.NoSuchProcess:
            continue
        if name and name != _PROXYING:
            return f"process {one.pid} ({name})"
        if not name and (one.laddr.ip, one.laddr.port) not in own:
            return "a process of another user"
    return ""


def _found_ports(one: Mapping[str, Any]) -> tuple[str, Mapping[str, str], list[Binding]]:
    published = [
        Binding(port["PrivatePort"], port.get("IP") or "", port["PublicPort"])
        for port in one["Ports"]
        if port.get("PublicPort") and port["Type"] == "tcp"
    ]
    return one["Names"][0].removeprefix("/"), one["Labels"] or {}, published


def _meet(one: str, other: str) -> bool:
    """Say whether two listeners at addresses stand in each other's way."""
    return one == other or one in EVERYWHERE or other in EVERYWHERE
