"""The cache's server as a container of a compose project."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.cache_servers import CacheLogin, CacheState
from tasks.platforms.compose.containers.files import read_in_container
from tasks.platforms.compose.engine import Found
from tasks.platforms.compose.project import Project
from tasks.platforms.redis_server import RedisServer, is_refused_login
from tasks.platforms.whole_files import write_whole

PORT = 6379
_UP_WITHIN_SECONDS = 60.0
_MADE_FROM = "com.docker.compose.config-hash"


class ComposeCacheServer(RedisServer):
    """A Redis or Valkey server in a container.

    Args:
        target: Name of the target.
        project: The compose project.
        service: The cache's service.
        logins: Gives who may log in, whom to try first before the others.
    """

    def __init__(
        self,
        target: str,
        project: Project,
        service: str,
        logins: Callable[[], Sequence[CacheLogin]],
    ) -> None:
        """Keep where it is; asks nothing."""
        super().__init__(target, lambda: project.engine.reach(self._container, PORT), logins)
        self._project, self._engine, self._service = project, project.engine, service

    @property
    def _container(self) -> Found:
        return self._project.container(self._service)

    def _reached(self, host: str | None, port: str | None) -> tuple[str, int]:
        container = self._container
        if host is not None and host not in container.known_as:
            return super()._reached(host, port)
        inside = int(port) if port and port.isdigit() else PORT
        return self._engine.reach(container, inside)

    @property
    def address(self) -> tuple[str, str]:
        """Where the application reaches it: its service and the port inside."""
        return self._service, str(PORT)

    def is_called(self, host: str) -> bool:
        """Say whether a name or an address leads a container of the project to it.

        Args:
            host: What the application has.
        """
        found = self._project.containers(self._service)
        return host == self._service or any(host in one.known_as for one in found)

    def state(self) -> CacheState:
        """Look at its container."""
        found = self._project.containers(self._service)
        if not found:
            return CacheState(runs=False, told=f"service {self._service} has no container")
        one = found[0]
        if one.runs:
            return CacheState(runs=True, told=f"container {one.name} runs")
        told = f"container {one.name} is {one.status}, exit status {one.exit_code}"
        ways = {
            "paused": f"somebody has paused it: docker unpause {one.name}",
            "restarting": "it ends again and again: remedy run repair-crash-loop",
        }
        return CacheState(runs=False, told=told, hindrance=ways.get(one.status, ""))

    def start(self) -> None:
        """Have its container started as it is, or made where there is none.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: The engine refuses.
        """
        insist_on_fence()
        found = self._project.containers(self._service)
        if not found:
            self._up()
            return
        with self._engine.client() as client:
            client.api.start(found[0].id)

    def read_file(self, path: str) -> str:
        """Read a file of the container.

        Args:
            path: Its path inside.

        Raises:
            PreconditionFailed: There is none, or it is no text.
            Transient: The engine does not answer.
        """
        try:
            return read_in_container(self._engine, self._container, path).decode()
        except (KeyError, UnicodeDecodeError) as error:
            raise self._not_read(path) from error

    def finds_again(self, path: str) -> bool:
        """Say whether a file inside is one of this machine: what an image brings comes anew."""
        return self._here(path) is not None

    def write_file(self, path: str, text: str) -> None:
        """Write a file that the container sees of this machine, whole or not at all.

        Args:
            path: Its path inside.
            text: What shall be in it.

        Raises:
            PreconditionFailed: It lies in the container or a volume, or cannot be written to.
        """
        insist_on_fence()
        place = self._here(path)
        if place is None:
            raise PreconditionFailed(
                expected=f"{path} of service {self._service} to be a file of this machine.",
                found="it lies in the container or in a volume.",
                state="The file is as it was.",
                todo="Mount it from the project's folder, or let the server keep its users in an "
                "aclfile.",
            )
        try:
            write_whole(place, text.encode())
        except OSError as error:
            raise self._not_read(path) from error

    def _here(self, path: str) -> Path | None:
        for mount in self._container.mounts:
            inside = PurePosixPath(path)
            if not mount.volume and self._engine.is_local and inside.is_relative_to(mount.inside):
                return Path(mount.source) / inside.relative_to(mount.inside)
        return None

    def _up(self) -> None:
        self._project.run("up", "-d", "--no-deps", "--no-build", self._service)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while True:
            try:
                with self.connect():
                    return
            except RemediationError as error:
                if is_refused_login(error):
                    return  # it answers: who may log in is another matter
                if time.monotonic() > deadline:
                    raise self._not_up(error) from error
            time.sleep(0.1)

    def _not_up(self, error: RemediationError) -> PreconditionFailed:
        state = "no container"
        with suppress(Transient):
            container = self._container
            state = f"{container.status}, exit status {container.exit_code}"
        return PreconditionFailed(
            expected=f"service {self._service} to answer once it was started.",
            found=f"{state}; {error.found}",
            todo=f"Read its log: `docker compose logs {self._service}`.",
        )

    def follows(self, variable: str, value: str) -> bool:
        """Say whether its container was started with a variable of `.env`, and has it now.

        Args:
            variable: The variable's name.
            value: Its value, as a password.

        Raises:
            Transient: There is no container, or the engine does not answer.
            PreconditionFailed: The files cannot be read.
        """
        with self._engine.client() as client:
            made: dict[str, Any] = client.api.inspect_container(self._container.id)["Config"]
        given = [*(made.get("Entrypoint") or ()), *(made.get("Cmd") or ()), *(made["Env"] or ())]
        parts = {part for word in given for part in (*word.split(), word.partition("=")[2])}
        return value in parts and self.takes(variable)

    def takes(self, variable: str) -> bool:
        """Say whether a container made now has something from a variable of `.env`.

        Args:
            variable: The variable's name.

        Raises:
            PreconditionFailed: The files cannot be read.
        """
        # With another value it would have to be another container.
        return self._hash({variable: "one"}) != self._hash({variable: "another"})

    def is_in_step(self) -> bool:
        """Say whether its container is what the compose files and `.env` make of it now.

        Raises:
            Transient: There is no container, or the engine does not answer.
            PreconditionFailed: The files cannot be read.
        """
        return self._hash() == self._container.labels.get(_MADE_FROM, "")

    def _hash(self, variables: Mapping[str, str] | None = None) -> str:
        """Have compose hash what it makes of the service, '' where it says none."""
        said = self._project.run("config", "--hash", self._service, variables=variables)
        return (said.split() or [""])[-1]

    def remake(self) -> None:
        """Make its container anew, as compose files and `.env` are now; its volumes stay.

        Raises:
            PreconditionFailed: It does not come up.
            Transient: The engine does not answer.
        """
        insist_on_fence()
        self._up()
        self._await_answer()

    def _not_read(self, path: str) -> PreconditionFailed:
        return PreconditionFailed(
            expected=f"to read and write {path} of service {self._service}.",
            found="that is not possible from here.",
            state="The file is as it was.",
            todo="Correct the path that the cache was started with, or the rights of the worker.",
        )
