"""Commands tried in the containers of a compose project, and in throw-away ones beside them.

Source: Docker Engine API 1.41 (exec: its end is polled, as a process that it started cannot be
ended by way of the engine).
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import requests
from docker import DockerClient
from docker.errors import APIError, NotFound

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.compose.application.commands import remove
from tasks.platforms.compose.engine import OF_PROJECT, OF_TARGET, OF_TOKEN
from tasks.platforms.compose.project import Project, owner
from tasks.platforms.trials import NOT_EXECUTABLE, NOT_FOUND, Tried

_ASK_EACH_SECONDS = 0.05
_MARK = "REMEDY_TRIAL"
# Whatever the command has started has its mark; this shell has not.
_END = (
    'for one in /proc/[0-9]*; do if grep -q "$0" "$one/environ" 2>/dev/null; '
    'then kill -9 "${one#/proc/}"; fi; done'
)


class ComposeTrials:
    """Commands in the containers of a project's services.

    Args:
        project: The project.
        target: Name of the target; on the labels of what is made.
    """

    def __init__(self, project: Project, target: str) -> None:
        """Keep where they are; runs nothing."""
        self._project, self._engine, self._target = project, project.engine, target

    def inside(self, container: str, command: Sequence[str], seconds: float) -> Tried:
        """Run a command in a container that runs.

        Args:
            container: Its id.
            command: Program and arguments.
            seconds: How long it may take; after that it is ended, where the image has a shell.

        Returns:
            How it ended.

        Raises:
            Transient: The engine does not answer, or the container ended.
        """
        mark = f"{_MARK}={uuid4().hex}"
        with self._engine.client() as client:
            api = client.api
            made = api.exec_create(container, list(command), environment=[mark])["Id"]
            begun = time.monotonic()
            try:
                api.exec_start(made, detach=True)
            except APIError as error:
                return Tried(_status_of(error), time.monotonic() - begun, ended=True)
            while True:
                said, took = api.exec_inspect(made), time.monotonic() - begun
                if not said["Running"] and said["ExitCode"] is not None:
                    return Tried(int(said["ExitCode"]), took, ended=True)
                if took > seconds:
                    self._end(client, container, mark)
                    return Tried(-1, took, ended=False)
                time.sleep(_ASK_EACH_SECONDS)

    def _end(self, client: DockerClient, container: str, mark: str) -> None:
        with suppress(APIError):  # no shell in it, or it has ended
            client.containers.get(container).exec_run(["/bin/sh", "-c", _END, mark])

    def apart(self, container: str, command: Sequence[str], seconds: float) -> Tried:
        """Run a command in a throw-away container like another one: nothing listens in it.

        Args:
            container: Id of the other one.
            command: Program and arguments.
            seconds: How long it may take.

        Returns:
            How it ended.

        Raises:
            Transient: The engine does not answer.
            LeaseLost: Our lease ran out meanwhile.
        """
        with self._engine.client() as client:
            like = client.api.inspect_container(container)
            configured = like["Config"]
            made = client.containers.create(
                like["Image"],
                list(command[1:]),
                entrypoint=[command[0]],
                environment=configured.get("Env") or [],
                healthcheck={"test": ["NONE"]},
                labels={
                    OF_TARGET: owner(configured["Labels"][OF_PROJECT], self._target),
                    OF_TOKEN: str(fencing_token()),
                },
                name=f"remedy-{self._target}-{uuid4().hex[:12]}",
                network_mode="none",
                volumes_from=[f"{container}:ro"],
                user=configured.get("User") or "",
                working_dir=configured.get("WorkingDir") or None,
            )
            try:
                insist_on_fence()  # behind its creation: from here on a successor sees it
                begun = time.monotonic()
                try:
                    made.start()
                    status = int(made.wait(timeout=seconds)["StatusCode"])
                except APIError as error:
                    return Tried(_status_of(error), time.monotonic() - begun, ended=True)
                except (requests.Timeout, requests.ConnectionError):
                    return Tried(-1, time.monotonic() - begun, ended=False)
                return Tried(status, time.monotonic() - begun, ended=True)
            finally:
                remove(made)

    def reached_at(self, container: str, port: int) -> str:
        """Say where a container's port is reached from here.

        Args:
            container: Its id.
            port: The port inside.

        Returns:
            host:port; '' where it is reached from its own machine alone.
        """
        for one in self._engine.containers({OF_PROJECT: self._project.name}):
            if one.id == container:
                with suppress(PreconditionFailed, Transient):
                    host, outside = self._engine.reach(one, port)
                    return f"{host}:{outside}"
        return ""


def _status_of(error: APIError) -> int:
    said = str(error.explanation or error)
    if isinstance(error, NotFound) or not any(
        one in said for one in ("executable file not found", "no such file", "permission denied")
    ):
        raise error
    return NOT_EXECUTABLE if "permission denied" in said else NOT_FOUND
