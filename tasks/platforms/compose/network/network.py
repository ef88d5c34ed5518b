"""Ports of a project's services, as engine, containers and machine say it.

Sources: Docker Engine API 1.41 (ContainerInspect, ContainerList); proc(5), /proc/net/tcp.
"""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from docker.errors import APIError

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.application.proxy import ComposeProxy
from tasks.platforms.compose.engine import Found
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.network.listeners import listeners_in
from tasks.platforms.compose.network.rules import rules_of
from tasks.platforms.compose.port_holders import who_has
from tasks.platforms.compose.project import Project
from tasks.platforms.local_host import LocalHost
from tasks.platforms.networks import EVERYWHERE, Binding, Listener, Role, Rules, Way, is_loopback

_UP_WITHIN_SECONDS = 120.0
_NOWHERE = "192.0.2.1"  # RFC 5737: nothing is sent there, it only chooses an address of ours
_PORTS = {"database": 5432, "cache": 6379}


@dataclass(frozen=True)
class Names:
    """What the services of a target are called."""

    application: str
    application_port: int
    health_path: str
    database: str
    cache: str
    proxy: str


class ComposeNetwork:
    """Ports of a project's services.

    Args:
        project: The project.
        names: What its services are called.
        proxy: nginx before the application, None for none.
        prefix: What stands before each command on the machine.
    """

    def __init__(
        self, project: Project, names: Names, proxy: ComposeProxy | None, prefix: tuple[str, ...]
    ) -> None:
        """Keep where it is; asks nothing."""
        self._project, self._engine = project, project.engine
        self._names, self._proxy, self._prefix = names, proxy, prefix

    def role(self, service: str) -> Role:
        """Say what a service is in the target."""
        roles: dict[str, Role] = {
            self._names.proxy: "proxy",
            self._names.cache: "cache",
            self._names.database: "database",
            self._names.application: "application",
        }
        return roles.get(service, "other")

    def port_of(self, service: str) -> int:
        """Give the port at which a service is expected to listen; 0 where nobody knows."""
        role = self.role(service)
        return self._names.application_port if role == "application" else _PORTS.get(role, 0)

    def health_path(self, service: str) -> str:
        """Give the path at which a service answers HTTP; '' for one that may not speak it."""
        return self._names.health_path if self.role(service) == "application" else ""

    def ways(self, service: str) -> list[Way]:
        """Look at a service's containers.

        Args:
            service: Its name.

        Returns:
            One for each, whether it runs or not.

        Raises:
            Transient: The engine does not answer.
        """
        return [self._way(one) for one in self._project.containers(service)]

    def _way(self, found: Found) -> Way:
        with self._engine.client() as client:
            seen = client.api.inspect_container(found.id)
            inner = [client.api.inspect_network(one)["Internal"] for one in found.addresses]
        configured = seen["HostConfig"]
        return Way(
            container=found.name,
            runs=found.runs,
            mode=str(configured.get("NetworkMode") or "default"),
            internal=bool(inner) and all(inner),
            addresses=found.addresses,
            listeners=self._listeners(found),
            asked=_bindings(configured.get("PortBindings")),
            bound=_bindings(seen["NetworkSettings"].get("Ports")),
        )

    def _listeners(self, found: Found) -> tuple[Listener, ...] | None:
        """Ask the kernel, by the container's own `cat`: that needs no program of ours in it."""
        if not found.runs:
            return None
        text = ""
        with self._engine.client() as client:
            for name in ("tcp", "tcp6"):
                try:
                    command = ["cat", f"/proc/net/{name}"]
                    status, said = said_inside(client.containers.get(found.id), command)
                except APIError:  # it has none, or ended meanwhile
                    return None
                text += said if status == 0 else ""
        return listeners_in(text) if text else None

    def taken_by(self, service: str, binding: Binding) -> str:
        """Say who else has a port of the machine.

        Args:
            service: The service that shall have it.
            binding: The port, and at which address.

        Returns:
            Who, '' where nobody is seen.
        """
        own = {one.id for one in self._project.containers(service)}
        found = who_has(self._engine, binding.outside, binding.address, own)
        return found[0].name if found else ""

    def rules(self, way: Way, binding: Binding) -> Rules:
        """Look into the machine's packet filter.

        Args:
            way: The container.
            binding: What it publishes.

        Returns:
            Whether it leads to the container.
        """
        if not self._engine.is_local:
            return Rules(None, f"the engine {self._engine.url} is on another machine")
        try:
            host = LocalHost(self._prefix)
        except PreconditionFailed as error:
            return Rules(None, error.found.rstrip("."))
        programs = ("iptables-save", "iptables-legacy-save")
        saved = [done for one in programs if not (done := host.run([one])).status]
        if not saved:
            return Rules(None, "iptables-save does not say what is in force (it needs root)")
        inside = [one for one in way.addresses.values() if one]
        return rules_of("\n".join(one.output for one in saved), inside, binding)

    def sent_on_by_proxy(self, service: str, port: int) -> bool | None:
        """Say whether nginx names a service's port; None where there is no nginx."""
        return self._proxy.sends_to(f"{service}:{port}") if self._proxy else None

    def reaches(self, address: str) -> bool:
        """Say whether an address of the machine means that machine here, too."""
        return self._engine.is_local or not is_loopback(address)

    def address(self) -> str:
        """Give an address of the machine as others reach it; '' where it has none."""
        if not self._engine.is_local:
            return urlsplit(self._engine.url).hostname or ""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chosen:
            try:
                chosen.connect((_NOWHERE, 9))
            except OSError:
                return ""
            return str(chosen.getsockname()[0])

    def remake(self, service: str) -> None:
        """Make a service's container anew from the files, and wait until it is up.

        Args:
            service: Its name.

        Raises:
            PreconditionFailed: It does not come up.
        """
        insist_on_fence()
        self._project.run("up", "-d", "--no-deps", "--no-build", "--force-recreate", service)
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while not (found := self._project.container(service)).runs or found.health not in (
            "",
            "healthy",
        ):
            if time.monotonic() > deadline:
                raise PreconditionFailed(
                    expected=f"{found.name} to come up within {_UP_WITHIN_SECONDS:.0f} s.",
                    found=f"{found.status} {found.health}, exit status {found.exit_code}.",
                    state=f"{found.name} does not serve.",
                    todo=f"Read its log: `docker logs {found.name}`.",
                )
            time.sleep(0.2)


def _bindings(ports: Mapping[str, Any] | None) -> tuple[Binding, ...]:
    found = set()
    for name, places in (ports or {}).items():
        port, _, protocol = name.partition("/")
        if protocol == "tcp":
            for one in places or []:
                address = one.get("HostIp") or ""
                address = "" if address in EVERYWHERE else address
                found.add(
                    Binding(
                        int(port),
                        address,
                        int(said) if (said := str(one.get("HostPort"))).isdigit() else 0,
                    )
                )
    return tuple(sorted(found))
