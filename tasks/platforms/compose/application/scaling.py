"""How many containers a compose project's application has, and which of them nginx leads to."""

import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from typing import Any

import httpx
import psutil
from docker.errors import APIError, NotFound

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.application.proxy import ComposeProxy
from tasks.platforms.compose.application.used import count_workers, used_processors
from tasks.platforms.compose.engine import Found
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.project import Project
from tasks.platforms.scaling import Busy, Processors, Serving

NUMBER = "com.docker.compose.container-number"
_UP_WITHIN_SECONDS = 120.0
_PATIENCE_SECONDS = 30


class ComposeScaling:
    """Containers of the application's service.

    Args:
        project: The compose project.
        service: The application's service.
        proxy: nginx before it, None for none.
        port: The port that it listens at inside.
        health_path: Path at which a container that serves answers.
    """

    def __init__(
        self,
        project: Project,
        service: str,
        proxy: ComposeProxy | None,
        port: int,
        health_path: str,
    ) -> None:
        """Keep where it is; asks nothing."""
        self.service, self._project, self._proxy = service, project, proxy
        self._engine, self._port, self._path = project.engine, port, health_path

    @property
    def reached_by_address(self) -> bool:
        """Whether a container is reached from here without a port of the host."""
        return self._engine.reaches_containers

    def containers(self) -> list[Found]:
        """Find them, the oldest first: those with the lowest numbers."""
        found = self._project.containers(self.service)
        return sorted(found, key=lambda one: int(one.labels.get(NUMBER, "0")))

    def seen(self) -> list[Serving]:
        """Look at its containers, the oldest first.

        Raises:
            Transient: The engine does not answer.
        """
        led = self._proxy.led() if self._proxy else frozenset()
        return [
            Serving(
                name=one.name,
                runs=one.runs,
                led=one.runs and (not led or one.name in led),
                addresses=tuple(filter(None, one.addresses.values())),
            )
            for one in self.containers()
        ]

    def is_choosy(self) -> bool:
        """Say whether nginx's file names those that get requests, or is being changed."""
        return self._proxy is not None and self._proxy.led_by() is not None

    def obstacles(self) -> list[str]:
        """Say what keeps requests from being shared out, or led past one.

        Returns:
            Sentences, none where nothing does.
        """
        if self._proxy is None:
            return ["the target names no nginx before it: nobody would share the requests out"]
        return self._proxy.obstacles()

    def processors(self) -> Processors:
        """Look at the machine's processors for a second."""
        with self._engine.client() as client:
            count = int(client.info()["NCPU"])
        busy = psutil.cpu_percent(interval=1) / 100 * count if self._engine.is_local else None
        return Processors(count, busy)

    def busy(self) -> list[Busy]:
        """Measure what each container that runs uses.

        Returns:
            One for each.

        Raises:
            Transient: The engine does not answer.
        """
        found = []
        for one in filter(lambda one: one.runs, self.containers()):
            with self._engine.client() as client:
                used: dict[str, Any] = client.api.stats(one.id, stream=False)
                shown = client.api.top(one.id, ps_args="-eo pid,ppid,args")
                main = client.api.inspect_container(one.id)["State"]["Pid"]
            workers = count_workers(shown["Processes"] or [], main)
            found.append(Busy(one.name, used_processors(used), workers))
        return found

    def add(self, count: int) -> None:
        """Make containers beside those that there are, and wait until each answers.

        Args:
            count: How many there shall be; those that there are stay as they are.

        Raises:
            PreconditionFailed: Compose fails, or one does not come up.
        """
        insist_on_fence()
        scale = f"{self.service}={count}"
        kept = ("--no-deps", "--no-build", "--no-recreate")
        self._project.run("up", "-d", *kept, "--scale", scale, self.service)
        faults.point("after-made:compose.scaling")
        self.await_answers([one.name for one in self.containers()])

    def await_answers(self, names: Sequence[str]) -> None:
        """Wait until each of these containers answers.

        Args:
            names: Their names.

        Raises:
            PreconditionFailed: One does not.
        """
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while silent := [
            one for one in self.containers() if one.name in names and not self._answers(one)
        ]:
            if time.monotonic() > deadline:
                raise PreconditionFailed(
                    expected=f"{silent[0].name} to answer at {self._path}.",
                    found=f"{silent[0].status}, exit status {silent[0].exit_code}.",
                    state="nginx leads requests to those that it led them to before.",
                    todo=f"Read its log: `docker logs {silent[0].name}`.",
                )
            time.sleep(0.2)

    def _answers(self, container: Found) -> bool:
        with suppress(httpx.HTTPError, Transient):
            host, port = self._engine.reach(container, self._port)
            url = f"http://{host}:{port}{self._path}"
            return container.runs and httpx.get(url, timeout=5, trust_env=False).is_success
        return False

    def lead(self, names: Sequence[str] = ()) -> None:
        """Lead requests to some containers, and wait until those on the way elsewhere have ended.

        Args:
            names: Those that get some; all of the service, as they are now, where none is named.

        Raises:
            PreconditionFailed: There is no nginx, or it refuses; it goes on as before.
            Transient: Requests on the way do not end.
        """
        insist_on_fence()
        if self._proxy is None:
            raise PreconditionFailed(
                expected="nginx, which leads requests to containers.",
                found="the target names none.",
                todo="Set `proxy_service` of the target.",
            )
        self._proxy.lead(names)

    def remove(self, names: Sequence[str]) -> None:
        """Stop containers in good order, and remove them.

        Args:
            names: Their names; gone already is fine.

        Raises:
            Transient: The engine does not answer.
        """
        for name in names:
            insist_on_fence()
            with self._engine.client() as client, suppress(NotFound):
                container = client.containers.get(name)
                container.stop(timeout=_PATIENCE_SECONDS)
                container.remove(force=True)
            faults.point("after-one-removed:compose.scaling")

    def reached(self) -> dict[str, frozenset[str]]:
        """Give the connections of the last minute by which nginx has reached each container.

        The kernel keeps those that the container has closed for a minute. Source: Linux,
        proc_pid_net(5), /proc/net/tcp.

        Returns:
            Address and port of nginx, as the kernel writes them, by container.
        """
        proxies = set(self._proxy.addresses() if self._proxy else ())
        return {
            one.name: frozenset(_from(self._table(one), proxies, self._port))
            for one in self.containers()
            if one.runs
        }

    def _table(self, container: Found) -> str:
        command = ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
        with self._engine.client() as client:
            try:
                _, said = said_inside(client.containers.get(container.id), command)
            except APIError:  # it ended meanwhile
                return ""
        return said


def _from(table: str, addresses: set[str], port: int) -> set[str]:
    """Give the remote ends of connections to a port that come from some addresses."""
    # As the kernel writes them: the bytes of version 4 reversed, mapped into version 6 or not.
    known = [ip_address(one) for one in addresses]
    wanted = {one.packed[::-1].hex().upper() for one in known if isinstance(one, IPv4Address)}
    found = set()
    for line in table.splitlines():
        parts = line.split()
        if len(parts) > 3 and parts[1].endswith(f":{port:04X}"):  # noqa: PLR2004 - both ends and a state
            host, _, _ = parts[2].rpartition(":")
            if host[-8:] in wanted:
                found.add(parts[2])
    return found
