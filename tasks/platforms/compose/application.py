"""The application of a compose project: its settings in `.env`, its containers, its commands."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from docker.errors import NotFound

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed, Replica
from tasks.platforms.compose.commands import run_beside
from tasks.platforms.compose.engine import Found
from tasks.platforms.compose.project import Project
from tasks.platforms.settings_file import SettingsFile

_UP_WITHIN_SECONDS = 120.0
_PATIENCE_SECONDS = 30


class ComposeApplication:
    """The web application, as containers of a service.

    Args:
        url: Where users reach it.
        target: Name of the target.
        project: The compose project.
        service: The application's service.
        proxy: The service that stands before it, '' for none.
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
        proxy: str,
        port: int,
        health_path: str,
        settings_file: Path,
    ) -> None:
        """Keep where it is; asks nothing."""
        self.url, self._target, self._project = url, target, project
        self._service, self._proxy, self._port = service, proxy, port
        self._health_path, self._file = health_path, SettingsFile(settings_file)

    def settings(self) -> dict[str, str]:
        """Read the settings that a container is started with now.

        Returns:
            Value by name, as the compose files put them together.

        Raises:
            PreconditionFailed: The files cannot be read.
        """
        return self._project.settings(self._service)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change some settings in `.env`, whole or not at all; comments and order stay.

        Args:
            settings: New value by name.

        Raises:
            PreconditionFailed: The file cannot be written to, or the compose files do not take
                one of them from there: it is as it was then.
            BadInput: A value cannot be written there.
        """
        insist_on_fence()
        before, old = self._file.text(), self.settings()
        self._file.change(settings)
        now = self.settings()
        if missed := [name for name, value in settings.items() if now.get(name) != value]:
            self._file.put_back(before, settings, old)
            raise PreconditionFailed(
                expected=f"the compose files to take {', '.join(missed)} from {self._file.path}.",
                found="they have a value of their own, or do not pass it on.",
                state="The file is as it was.",
                todo=f"Write `NAME: ${{NAME}}` under the environment of service {self._service}.",
            )

    def configuration(self) -> str:
        """Give the text of `.env`, secrets among it, for `put_back`.

        Raises:
            PreconditionFailed: It cannot be read.
        """
        return self._file.text()

    def put_back(self, text: str, written: Mapping[str, str], old: Mapping[str, str]) -> None:
        """Take `configure(written)` back; put back already is fine.

        Args:
            text: What the file was before.
            written: What was changed.
            old: The values of before, for a file that somebody has edited since.

        Raises:
            PreconditionFailed: The file cannot be written to.
            BadInput: Somebody has edited it, and an old value cannot be written beside that.
        """
        insist_on_fence()
        self._file.put_back(text, written, old)

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
    def pause(self, seconds: float) -> Iterator[bool]:  # noqa: ARG002 - as every platform takes it
        """Say that requests cannot be held back: nginx has no way to.

        Args:
            seconds: When the pause would end by itself.

        Yields:
            False.
        """
        yield False

    def replicas(self) -> list[Replica]:
        """Look at the application's containers.

        Returns:
            One for each, whether it runs or not.

        Raises:
            Transient: The engine does not answer.
        """
        return [
            Replica(
                name=one.name,
                url=self._url_of(one),
                runs=one.runs,
                drained=False,
                settings=one.environment,
            )
            for one in self._project.containers(self._service)
        ]

    def _url_of(self, container: Found) -> str:
        if not container.runs:
            return ""
        host, port = self._project.engine.reach(container, self._port)
        return f"http://{host}:{port}"

    def drain(self, name: str) -> None:
        """Stop a container once its requests have ended: nothing stands in for its port.

        Args:
            name: Its name.

        Raises:
            Transient: The engine does not answer.
        """
        insist_on_fence()
        with self._project.engine.client() as client:
            try:
                client.containers.get(name).stop(timeout=_PATIENCE_SECONDS)
            except NotFound:
                return

    def admit(self, name: str) -> None:
        """Start a container that was stopped; it gets requests as soon as it answers.

        Args:
            name: Its name.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: There is no such container.
        """
        insist_on_fence()
        with self._project.engine.client() as client:
            client.containers.get(name).start()

    def restart(self, name: str) -> None:
        """Make a container anew with the settings as they are now, wait until it answers.

        Args:
            name: Its name.

        Raises:
            PreconditionFailed: It does not come up.
        """
        insist_on_fence()
        self._project.run("up", "-d", "--no-deps", "--no-build", "--force-recreate", self._service)
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while not self._answers(name):
            if time.monotonic() > deadline:
                container = self._project.container(self._service)
                raise PreconditionFailed(
                    expected=f"{name} to answer at {self._health_path}.",
                    found=f"{container.status}, exit status {container.exit_code}.",
                    state=f"{name} does not serve.",
                    todo=f"Read its log: `docker logs {name}`.",
                )
            time.sleep(0.2)
        self._have_the_proxy_look()

    def _answers(self, name: str) -> bool:
        for one in self._project.containers(self._service):
            if one.name == name and one.runs:
                try:
                    url = f"{self._url_of(one)}{self._health_path}"
                    return httpx.get(url, timeout=5, trust_env=False).is_success
                except (httpx.HTTPError, Transient):
                    return False
        return False

    def _have_the_proxy_look(self) -> None:
        """Have nginx look its upstreams up: a new container may have another address."""
        for one in self._project.containers(self._proxy) if self._proxy else []:
            if one.runs:
                with self._project.engine.client() as client:
                    client.containers.get(one.id).exec_run(["nginx", "-s", "reload"])
