"""A Docker engine, spoken to through its API: what we put there never shows in `ps` of ours.

Source: Docker Engine API 1.41.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.platforms.compose.engine_way import WayToEngine
from tasks.platforms.compose.engine_words import told, told_of_ssh
from tasks.platforms.compose.over_ssh import LOOPBACK
from tasks.platforms.networks import EVERYWHERE, is_loopback

OF_PROJECT, OF_SERVICE = "com.docker.compose.project", "com.docker.compose.service"
OF_TARGET, OF_TOKEN = "remedy.target", "remedy.token"
# These serve users: no successor may just end them.
STANDS_IN, GATES = "remedy.stands-in-for", "remedy.gates"


@dataclass(frozen=True)
class Mount:
    """What of elsewhere a container sees.

    Args:
        source: Where that is on the engine's machine.
        inside: Where the container sees it.
        volume: Name of the volume, '' for a folder or file.
    """

    source: str
    inside: str
    volume: str


@dataclass(frozen=True)
class Found:
    """A container.

    Args:
        id: Its id.
        name: Its name.
        image: Id of its image.
        status: 'running', 'exited', 'paused', ...
        exit_code, restarts: What it ended with; how often the engine has started it again.
        health: 'healthy', 'starting', 'unhealthy', or '' without a check.
        user: Whom it runs as, '' for the image's.
        directory: Where it runs.
        addresses: Its address in each network by the network's name.
        known_as: What the project's containers call it: service, name, aliases, addresses.
        ports: Where each port, as '5432/tcp', is published: address and port.
        mounts, labels: What it sees of elsewhere; its labels.
        environment: What it was started with; values of secrets among it.
    """

    id: str
    name: str
    image: str
    status: str
    exit_code: int
    restarts: int
    health: str
    user: str
    directory: str
    addresses: Mapping[str, str]
    known_as: frozenset[str]
    ports: Mapping[str, tuple[str, int]]
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)

    @property
    def runs(self) -> bool:
        """Whether its processes are at work."""
        return self.status == "running"


class Engine:
    """A Docker engine.

    Args:
        url: Its address: unix://, ssh:// or tcp://.
        certificates: Folder of ca.pem, cert.pem and key.pem for tcp://.
        ssh_configuration: Configuration file of ssh for ssh://; our user's where not given.
    """

    def __init__(
        self, url: str, certificates: Path | None = None, ssh_configuration: Path | None = None
    ) -> None:
        """Keep the address; connects to nothing."""
        self.url, self.is_local = url, url.startswith("unix://")
        self._way = WayToEngine(url, certificates, ssh_configuration)
        self._known: docker.DockerClient | None = None

    @property
    def reaches_containers(self) -> bool:
        """Whether a container is reached from here without a port of the engine's machine."""
        return self.is_local or self._way.ssh is not None

    def environment(self) -> dict[str, str]:
        """Give the variables by which docker's own programs reach it.

        Raises:
            PreconditionFailed: It is open to everybody, or our certificate for it is none.
        """
        return self._way.environment()

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """Give a client whose errors are ours.

        Raises:
            Transient: The engine does not answer, or cannot now.
            PreconditionFailed: It answers and refuses.
        """
        try:
            if ssh := self._way.ssh:
                ssh.engine()  # it may have ended since
            if self._known is None:
                self._known = self._way.connect()
            yield self._known
        except (DockerException, requests.RequestException) as error:
            engine = f"the engine at {self.url}"
            if ssh and not isinstance(error, APIError) and (said := ssh.complaint()):
                raise told_of_ssh(said, engine) from error
            raise told(error, engine) from error

    def identity(self) -> str:
        """Ask the engine who it is."""
        with self.client() as client:
            return str(client.info()["ID"])

    def containers(self, labels: Mapping[str, str]) -> list[Found]:
        """Find containers by labels, those that do not run too.

        Args:
            labels: Value by label; '' for any.

        Returns:
            Sorted by name.
        """
        wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
        found = []
        with self.client() as client:
            for one in client.api.containers(all=True, filters={"label": wanted}):
                try:
                    found.append(_found(client.api.inspect_container(one["Id"])))
                except NotFound:
                    continue  # removed meanwhile
        return sorted(found, key=lambda one: one.name)

    def reach(self, container: Found, port: int) -> tuple[str, int]:
        """Say where a container's port is reached from here.

        Args:
            container: The container.
            port: Its port inside.

        Returns:
            Address and port: where it is published, else its own on an engine of this machine;
            by ssh:// those of a socket here that leads there.

        Raises:
            Transient: It does not run.
            PreconditionFailed: It is reached nowhere, or ssh may not lead there.
        """
        published = container.ports.get(f"{port}/tcp")
        own = next((one for one in container.addresses.values() if one), "")
        if (ssh := self._way.ssh) and (published or own):
            address, outside = published or (own, port)
            address = LOOPBACK if address in EVERYWHERE else address
            return ssh.port(address, outside)
        if published and (self.is_local or not is_loopback(published[0])):
            address, outside = published
            if address in EVERYWHERE:
                address = LOOPBACK if self.is_local else urlsplit(self.url).hostname or LOOPBACK
            return address, outside
        if own and self.is_local:
            return own, port
        if not container.runs:
            raise Transient(
                expected=f"{container.name} to run.",
                found=f"{container.status}, exit status {container.exit_code}.",
                todo="Start it, then run again.",
            )
        where = f"published at {published[0]} alone" if published else "not published"
        raise PreconditionFailed(
            expected=f"port {port} of {container.name} to be reached from here.",
            found=f"it is {where}, and the engine {self.url} is elsewhere.",
            todo="Give the engine by ssh://, which leads there; or publish it in the compose file, "
            "or run a worker on the engine's machine.",
        )


def _found(seen: dict[str, Any]) -> Found:
    state, network = seen["State"], seen["NetworkSettings"]
    configured = seen["Config"]
    ports = {
        name: (places[0]["HostIp"], int(places[0]["HostPort"]))
        for name, places in (network.get("Ports") or {}).items()
        if places
    }
    labels = configured.get("Labels") or {}
    name, networks = seen["Name"].removeprefix("/"), network["Networks"]
    aliases = [alias for one in networks.values() for alias in one.get("Aliases") or []]
    addresses = {name: one["IPAddress"] for name, one in networks.items()}
    known_as = {name, labels.get(OF_SERVICE, name), *aliases, *addresses.values()} - {""}
    return Found(
        id=seen["Id"],
        name=name,
        image=seen["Image"],
        status=state["Status"],
        exit_code=state["ExitCode"],
        restarts=seen["RestartCount"],
        health=(state.get("Health") or {}).get("Status", ""),
        user=configured.get("User", ""),
        directory=configured.get("WorkingDir", ""),
        addresses=addresses,
        known_as=frozenset(known_as),
        ports=ports,
        mounts=tuple(
            Mount(one.get("Source", ""), one["Destination"], one.get("Name", ""))
            for one in seen["Mounts"]
        ),
        labels=labels,
        environment=dict(one.partition("=")[::2] for one in configured.get("Env") or []),
    )
