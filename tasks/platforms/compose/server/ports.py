"""Who listens at the ports that a container is to publish."""

from collections.abc import Iterable
from contextlib import suppress

import psutil

from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.server.place import Place

_ANY = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not listened at


def find_port_holder(engine: Engine, place: Place) -> str:
    """Say who else listens at a port that a server is to be published at.

    Args:
        engine: The engine; of one on another machine only the containers are seen.
        place: The server.

    Returns:
        Who, '' for nobody.

    Raises:
        Transient: The engine does not answer.
    """
    for host, port in sorted(place.ports):
        with engine.client() as client:
            for one in client.api.containers():
                theirs = [(said.get("IP", ""), said.get("PublicPort")) for said in one["Ports"]]
                if one["Id"] != place.container and _is_among(host, port, theirs):
                    return f"container {one['Names'][0].removeprefix('/')}, at {port}"
        if engine.is_local and (holder := _process_at(host, port)):
            return f"{holder}, at {port}"
    return ""


def _is_among(host: str, port: int, theirs: Iterable[tuple[str, int | None]]) -> bool:
    return any(at == port and (address == host or {address, host} & _ANY) for address, at in theirs)


def _process_at(host: str, port: int) -> str:
    for one in psutil.net_connections("tcp"):
        if one.status != psutil.CONN_LISTEN or not one.laddr:
            continue
        if not _is_among(host, port, [(one.laddr.ip, one.laddr.port)]):
            continue
        name = ""
        with suppress(psutil.Error):
            name = psutil.Process(one.pid).name() if one.pid else ""
        return f"process {one.pid} ({name})" if name else "a process that is not seen"
    return ""
