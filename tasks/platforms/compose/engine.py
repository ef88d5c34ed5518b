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
from docker.tls import TLSConfig

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient

OF_PROJECT, OF_SERVICE = "com.docker.compose.project", "com.docker.compose.service"
OF_TARGET, OF_TOKEN = "remedy.target", "remedy.token"
# These serve users: no successor may just end them.
STANDS_IN, GATES = "remedy.stands-in-for", "remedy.gates"
_SECONDS = 60
_LOOPBACK = "127.0.0.1"
_ANY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not listened at
_SERVER_ERROR = 500
_CONFLICT = 409
_UNKNOWN = "Whether that had an effect is not known; what came before it stands."


def told(error: Exception, engine: str) -> RemediationError:
    """Turn an error of the SDK or the engine into ours: the one place for this library.

    Args:
        error: What the SDK raised; stays as the cause.
        engine: Whom we spoke to, as 'the engine at unix:///var/run/docker.sock'.

    Returns:
        Transient where it may pass by itself, else PreconditionFailed.
    """
    expected = f"{engine} to carry out what it was asked."
    if isinstance(error, APIError):
        passing = (error.status_code or _SERVER_ERROR) >= _SERVER_ERROR
        passing = passing or error.status_code == _CONFLICT
        return (Transient if passing else PreconditionFailed)(
            expected=expected,
            found=f"{error.explanation or error} (status {error.status_code}).",
            state=_UNKNOWN if passing else "That had no effect; what came before it stands.",
            todo="Look at the engine's log, then try again."
            if passing
            else "Correct the target, or what its compose files say.",
        )
    shut_out = "ermission denied" in str(error)
    setup = isinstance(error, DockerException) and "Error while fetching" not in str(error)
    kind = PreconditionFailed if shut_out or setup else Transient
    todo = "Start the engine, or correct `engine_url` of the target."
    if shut_out:
        todo = "Let the worker's user reach the engine: group docker, or as root."
    found = f"{str(error) or type(error).__name__}."
    return kind(expected=expected, found=found, state=_UNKNOWN, todo=todo)


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
        certificates: Folder of ca.pem, cert.pem and key.pem for tcp:// with TLS.
    """

    def __init__(self, url: str, certificates: Path | None = None) -> None:
        """Keep the address; connects to nothing."""
        self.url, self._certificates = url, certificates
        self.is_local = url.startswith("unix://")
        self._known: docker.DockerClient | None = None

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """Give a client whose errors are ours.

        Raises:
            Transient: The engine does not answer, or cannot now.
            PreconditionFailed: It answers and refuses.
        """
        try:
            if self._known is None:
                self._known = self._connect()
            yield self._known
        except (DockerException, requests.RequestException) as error:
            raise told(error, f"the engine at {self.url}") from error

    def _connect(self) -> docker.DockerClient:
        tls: TLSConfig | bool = False
        if self._certificates is not None:
            pair = (str(self._certificates / "cert.pem"), str(self._certificates / "key.pem"))
            authority = str(self._certificates / "ca.pem")
            tls = TLSConfig(client_cert=pair, ca_cert=authority, verify=True)
        return docker.DockerClient(
            base_url=self.url, tls=tls, timeout=_SECONDS, use_ssh_client=True
        )

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
            Address and port: where it is published, else its own on an engine of this machine.

        Raises:
            PreconditionFailed: It is reached nowhere.
        """
        if published := container.ports.get(f"{port}/tcp"):
            address, outside = published
            if address in _ANY_ADDRESS:
                address = _LOOPBACK if self.is_local else urlsplit(self.url).hostname or _LOOPBACK
            return address, outside
        own = next((one for one in container.addresses.values() if one), "")
        if own and self.is_local:
            return own, port
        if not container.runs:
            raise Transient(
                expected=f"{container.name} to run.",
                found=f"{container.status}, exit status {container.exit_code}.",
                todo="Start it, then run again.",
            )
        raise PreconditionFailed(
            expected=f"port {port} of {container.name} to be reached from here.",
            found=f"it is not published, and the engine {self.url} is elsewhere.",
            todo="Publish it in the compose file, or run a worker on the engine's machine.",
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
