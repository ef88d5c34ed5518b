"""The application of a compose project: its containers, and its commands beside them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from docker.errors import NotFound

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed, Replica
from tasks.platforms.compose.application import stand_in as standing
from tasks.platforms.compose.application.commands import run_beside
from tasks.platforms.compose.application.gate import ComposeGate
from tasks.platforms.compose.application.proxy import ComposeProxy
from tasks.platforms.compose.application.scaling import ComposeScaling
from tasks.platforms.compose.application.settings import ComposeSettings
from tasks.platforms.compose.application.several import Several
from tasks.platforms.compose.engine import OF_TARGET, OF_TOKEN, STANDS_IN, Found
from tasks.platforms.compose.project import Project, owner

_UP_WITHIN_SECONDS = 120.0
_PATIENCE_SECONDS = 30
_ENDS_AGAIN_AND_AGAIN = 3


class ComposeApplication:
    """The web application, as containers of a service.

    Args:
        url: Where users reach it.
        target: Name of the target.
        project: The compose project.
        service: The application's service.
        proxy: nginx before it, None for none.
        port: The port that it listens at inside.
        health_path: Path at which a container that serves answers.
        settings_file: The project's `.env`.
    """

    def __init__(
        self,
        url: str,
        target: str,
        project: Project,
        service: str,
        proxy: ComposeProxy | None,
        port: int,
        health_path: str,
        settings_file: Path,
    ) -> None:
        """Keep where it is; asks nothing."""
        self.url, self._target, self._project = url, target, project
        self._service, self._proxy, self._port = service, proxy, port
        self._upstream, self._health_path = f"{service}:{port}", health_path
        scaling = ComposeScaling(project, service, proxy, port, health_path)
        self._several = Several(project, proxy, scaling)
        self._gate = ComposeGate(project, proxy, target, service, port) if proxy else None
        kept = ComposeSettings(project, service, settings_file)
        self.settings, self.unset, self.configure = kept.settings, kept.unset, kept.configure
        self.configuration, self.put_back = kept.configuration, kept.put_back

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Completed:
        """Run a command as the application ships it, and wait for its end.

        Args:
            command: Program and arguments, as they are called inside.
            environment: Settings laid over its own.

        Returns:
            Exit status, output and errors.

        Raises:
            Transient: The engine does not answer, or there is no container to be like.
            PreconditionFailed: The engine refuses.
        """
        beside = self._project.container(self._service)
        settings = {**self.settings(), **environment}
        return run_beside(self._project.engine, self._target, beside, command, settings)

    @contextmanager
    def pause(self, seconds: float) -> Iterator[bool]:
        """Hold new requests back while the block runs, those in flight having ended.

        Args:
            seconds: How long each is held at most, whatever becomes of us.

        Yields:
            Whether that was possible; where not, as without nginx, requests go on as ever.
        """
        if self._gate is None:
            yield False
            return
        with self._gate.holding(seconds) as held:
            yield held

    def replicas(self) -> list[Replica]:
        """Look at the application's containers.

        Returns:
            One for each, whether it runs or not.

        Raises:
            Transient: The engine does not answer.
        """
        replaceable = self._proxy is not None and self._proxy.can_switch()
        past = self._several.led_past()
        return [
            Replica(
                name=one.name,
                url=self._url_of(one),
                runs=one.runs,
                drained=one.name in past or self._is_stood_in_for(one.name),
                replaceable=replaceable,
                settings=one.environment,
            )
            for one in self._project.containers(self._service)
        ]

    def _url_of(self, container: Found) -> str:
        if not container.runs:
            return ""
        host, port = self._project.engine.reach(container, self._port)
        return f"http://{host}:{port}"

    def _is_stood_in_for(self, name: str) -> bool:
        return self._proxy is not None and self._proxy.sends_to(self._stand_in(name))

    def _end_stand_in(self, name: str) -> None:
        """Have nginx send requests to a container itself; what stood in for it goes."""
        stands_in = self._project.engine.containers({STANDS_IN: name})
        if self._proxy is not None and (stands_in or self._is_stood_in_for(name)):
            self._proxy.switch(self._stand_in(name), self._upstream)
        standing.remove_stand_in(self._project.engine, name)

    def _stand_in(self, name: str) -> str:
        return f"{standing.name_of_stand_in(name)}:{self._port}"

    def stand_in(self, name: str) -> bool:
        """Start a second container like one, behind nginx, to serve until that is admitted again.

        Args:
            name: Its name.

        Returns:
            False where no nginx stands before it.

        Raises:
            PreconditionFailed: The second one does not come up.
        """
        if self._proxy is None or not self._proxy.can_switch():
            return False
        (like,) = [one for one in self._project.containers(self._service) if one.name == name]
        self._end_stand_in(name)
        engine, target = self._project.engine, self._target
        standing.start_stand_in(engine, target, like, self._port, self._health_path)
        return True

    def end_idle_stand_ins(self, token: int) -> list[str]:
        """Remove what an older remediation started before it or to stand in, unless it serves.

        Args:
            token: The fencing token held now.

        Returns:
            A sentence for each that was removed.
        """
        ended = self._gate.end_older(token) if self._gate else []
        ended += self._several.end_surplus(token)
        ours = {OF_TARGET: owner(self._project.name, self._target), STANDS_IN: ""}
        for one in self._project.engine.containers(ours):
            name, older = one.labels[STANDS_IN], one.labels[OF_TOKEN]
            if int(older) < token and not self._is_stood_in_for(name):
                self._end_stand_in(name)
                ended.append(f"container {one.name} of token {older}")
        return ended

    def drain(self, name: str) -> None:
        """Send a container no new requests, and wait until it has none in flight.

        Where nothing stands in for it, it is stopped once its requests have ended.

        Args:
            name: Its name.

        Raises:
            Transient: Its requests did not end, or the engine does not answer.
        """
        insist_on_fence()
        stands_in = self._project.engine.containers({STANDS_IN: name})
        if self._proxy is not None and any(one.runs for one in stands_in):
            self._proxy.switch(self._upstream, self._stand_in(name))
            return
        if self._several.lead_past(name):
            return
        with self._project.engine.client() as client, suppress(NotFound):
            client.containers.get(name).stop(timeout=_PATIENCE_SECONDS)

    def admit(self, name: str) -> None:
        """Send a container requests again; what stood in for it goes.

        Args:
            name: Its name.

        Raises:
            Transient: Requests in what stood in did not end, or the engine does not answer.
            PreconditionFailed: There is no such container.
        """
        insist_on_fence()
        with self._project.engine.client() as client:
            client.containers.get(name).start()
        self._end_stand_in(name)
        self._several.lead_to(name)

    def restart(self, name: str) -> None:
        """Make a container anew with the settings as they are now, wait until it answers.

        Args:
            name: Its name.

        Raises:
            PreconditionFailed: It does not come up.
        """
        insist_on_fence()
        if self._several.make_anew(name):
            return
        self._project.run("up", "-d", "--no-deps", "--no-build", "--force-recreate", self._service)
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while not self._answers(name):
            container = self._project.container(self._service)
            if time.monotonic() > deadline or container.restarts >= _ENDS_AGAIN_AND_AGAIN:
                raise PreconditionFailed(
                    expected=f"{name} to answer at {self._health_path}.",
                    found=f"{container.status}, exit status {container.exit_code}.",
                    state=f"{name} does not serve.",
                    todo=f"Read its log: `docker logs {name}`.",
                )
            time.sleep(0.2)
        if self._proxy is not None and not self._is_stood_in_for(name):
            self._proxy.reload()

    def _answers(self, name: str) -> bool:
        for one in self._project.containers(self._service):
            if one.name == name and one.runs:
                with suppress(httpx.HTTPError, Transient):
                    url = self._url_of(one) + self._health_path
                    return httpx.get(url, timeout=5, trust_env=False).is_success
        return False
