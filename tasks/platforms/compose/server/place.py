"""Where the server of a compose project keeps its data, also where it has no container any more.

Sources: Docker Engine API 1.41 (inspect); the compose format's volumes and ports.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound, NotFound

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.engine import Mount
from tasks.platforms.compose.project import Project

_DATA = "/var/lib/postgresql/data"
_PORT = re.compile(r"(?:(?P<host>.+):)?(?P<port>\d+):\d+(?:/tcp)?")


@dataclass(frozen=True)
class Place:
    """Where a server's data is, and what it is started with.

    Args:
        container: Id of its container, '' where it has none.
        name: Name of the container, or of the service.
        image: The image that it is made of.
        data: Its data folder, as it sees that.
        mounts: The volumes and folders that it sees.
        arguments: What `postgres` is called with.
        ports: Addresses ('' for any) and ports of the engine's machine that it publishes.
        environment: What it is started with, the image's variables among it.
    """

    container: str
    name: str
    image: str
    data: str
    mounts: tuple[Mount, ...]
    arguments: tuple[str, ...]
    ports: frozenset[tuple[str, int]]
    environment: Mapping[str, str]

    @property
    def mount(self) -> Mount:
        """The volume or folder that the data lies in.

        Raises:
            PreconditionFailed: It lies in none: then it goes with the container.
        """
        within = [one for one in self.mounts if Path(self.data).is_relative_to(one.inside)]
        if not within:
            raise PreconditionFailed(
                expected=f"a volume or a folder that holds {self.data} of {self.name}.",
                found="none in the compose files, and no container that would have one.",
                todo=f"Look among `docker volume ls` for the one that held {self.data}, and name "
                "it in the compose file. Nothing is made in its place.",
            )
        return max(within, key=lambda one: len(one.inside))

    @property
    def is_mount(self) -> bool:
        """Whether the data folder is the volume itself, which cannot be given another name."""
        return self.mount.inside.rstrip("/") == self.data.rstrip("/")


def find_place(project: Project, service: str) -> Place:
    """Find out where the server of a service keeps its data.

    Args:
        project: The compose project.
        service: The service.

    Returns:
        What its container says, else what the compose files say.

    Raises:
        Transient: The engine does not answer.
        PreconditionFailed: The compose files cannot be read, or its image is not there.
    """
    found = project.containers(service)
    if not found:
        return _from_files(project, service)
    with project.engine.client() as client:
        try:
            seen = client.api.inspect_container(found[0].id)
        except NotFound:
            return _from_files(project, service)
    bindings = (seen["HostConfig"].get("PortBindings") or {}).items()
    return Place(
        container=found[0].id,
        name=found[0].name,
        image=found[0].image,
        data=found[0].environment.get("PGDATA", _DATA),
        # What lies in memory goes with the container.
        mounts=tuple(one for one in found[0].mounts if one.source or one.volume),
        arguments=_arguments([*(seen["Config"]["Cmd"] or [])]),
        ports=frozenset(
            (place["HostIp"] or "", int(place["HostPort"]))
            for inside, places in bindings
            for place in places or []
            if inside.endswith("/tcp") and place["HostPort"].isdigit()
        ),
        environment=found[0].environment,
    )


def _from_files(project: Project, service: str) -> Place:
    described = project.described()
    said = project.configuration(service, described)
    name = str(said.get("image", ""))
    with project.engine.client() as client:
        try:
            image = client.images.get(name)
        except ImageNotFound as error:
            raise PreconditionFailed(
                expected=f"image {name or 'none'} of service {service} on the engine.",
                found="it is not there.",
                state="Nothing was begun.",
                todo=f"Have it pulled: `compose pull {service}`. Of the data's version of "
                "PostgreSQL.",
            ) from error
    known = dict(one.partition("=")[::2] for one in image.attrs["Config"].get("Env") or [])
    environment = {**known, **project.settings(service, described)}
    command = said.get("command") or image.attrs["Config"].get("Cmd") or []
    volumes = described.get("volumes") or {}
    return Place(
        container="",
        name=service,
        image=str(image.id),
        data=environment.get("PGDATA", _DATA),
        mounts=tuple(
            mount
            for one in said.get("volumes") or []
            if (mount := _mount(one, volumes, project.name))
        ),
        arguments=_arguments(command.split() if isinstance(command, str) else list(command)),
        ports=frozenset(port for one in said.get("ports") or [] if (port := _port(one))),
        environment=environment,
    )


def _arguments(command: list[str]) -> tuple[str, ...]:
    """Give what is behind `postgres` in a command that starts it by whatever."""
    if command and command[0].startswith("-"):  # the image's entrypoint puts the program before it
        return tuple(command)
    at = [i for i, part in enumerate(command) if part.rpartition("/")[2] == "postgres"]
    return tuple(part.replace("$$", "$") for part in command[at[0] + 1 :]) if at else ()


def _mount(said: str | dict[str, Any], volumes: dict[str, Any], project: str) -> Mount | None:
    """Read a line of a service's volumes; None for one that no other container has, too."""
    if isinstance(said, str):
        source, _, inside = said.removesuffix(":ro").removesuffix(":rw").rpartition(":")
        kind = "bind" if source.startswith("/") else "volume"
    else:
        source, inside = str(said.get("source") or ""), str(said["target"])
        kind = said.get("type", "volume")
    if not source or kind not in {"bind", "volume"}:
        return None
    if kind == "bind":
        return Mount(source, inside, "")
    known = volumes.get(source) or {}
    external = known.get("external")
    named = external.get("name") if isinstance(external, dict) else ""
    return Mount("", inside, str(known.get("name") or named or f"{project}_{source}"))


def _port(said: str | int | dict[str, Any]) -> tuple[str, int] | None:
    """Read a line of a service's ports; None for one that the engine chooses."""
    if isinstance(said, dict):
        published = str(said.get("published") or "")
        is_tcp = said.get("protocol", "tcp") == "tcp"
        return (
            (str(said.get("host_ip") or ""), int(published))
            if (is_tcp and published.isdigit())
            else None
        )
    found = _PORT.fullmatch(str(said))
    return (found["host"] or "", int(found["port"])) if found else None
