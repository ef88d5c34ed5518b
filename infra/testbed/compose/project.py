"""A compose project: its verbs, its containers, and what it may leave on an engine."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from infra.sandbox.settings import HOST
from infra.testbed.docker.compose_program import Compose
from infra.testbed.docker.engine import Engine
from infra.testbed.running import output_of

FILES = ("docker-compose.yml", "docker-compose.prod.yml")
PROFILE = "with-nginx"
OF_PROJECT, OF_SERVICE = "com.docker.compose.project", "com.docker.compose.service"
OF_TARGET = "remedy.target"


class ComposeProject:
    """A compose project in a folder.

    Args:
        folder: Where its files are.
        name: Its name.
        engine: Where it runs.
        compose: The program that carries its verbs out.
    """

    def __init__(self, folder: Path, name: str, engine: Engine, compose: Compose) -> None:
        """Keep where it is; starts nothing."""
        self.folder, self.name, self.engine, self.compose = folder, name, engine, compose
        self._client = engine.client()

    def run(self, *arguments: str, files: Sequence[str] = FILES) -> str:
        """Run a verb of compose on the project.

        Args:
            arguments: The verb with its arguments.
            files: The project's compose files.

        Returns:
            What it printed.

        Raises:
            PreconditionFailed: It failed; says why.
        """
        given = [part for file in files for part in ("-f", file)]
        return output_of(
            [*self.compose.command, "-p", self.name, *given, "--profile", PROFILE, *arguments],
            expected=f"compose to carry out `{' '.join(arguments)}`.",
            todo="Correct what it names.",
            folder=self.folder,
            environment=self.compose.environment,
        )

    def down(self) -> None:
        """Remove its containers, networks and volumes."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "5")

    def close(self) -> None:
        """Let the engine go."""
        self._client.close()

    def container(self, service: str) -> Container:
        """Give the container of a service, whether it runs or not.

        Raises:
            LookupError: There is none.
        """
        labels = [f"{OF_PROJECT}={self.name}", f"{OF_SERVICE}={service}"]
        found = self._client.containers.list(
            all=True, filters={"label": labels}, ignore_removed=True
        )
        if not found:
            message = f"project {self.name} has no container of service {service}"
            raise LookupError(message)
        return found[0]

    def address(self, service: str) -> str:
        """Give the address of a service's container; loopback where it has none."""
        with suppress(LookupError, NotFound):
            networks = self.container(service).attrs["NetworkSettings"]["Networks"]
            for network in networks.values():
                if network["IPAddress"]:
                    return str(network["IPAddress"])
        return HOST


def remove_project(client: docker.DockerClient, name: str) -> None:
    """Remove what a project has left on an engine, without its files.

    Args:
        client: The engine.
        name: Name of the project.
    """
    of_it: dict[str, str | list[str] | bool] = {"label": f"{OF_PROJECT}={name}"}
    beside = [  # others' may go meanwhile
        one
        for one in client.containers.list(
            all=True, filters={"label": OF_TARGET}, ignore_removed=True
        )
        if one.labels[OF_TARGET].startswith(f"{name}/")  # what remediations had stand in for it
    ]
    for container in [*client.containers.list(all=True, filters=of_it), *beside]:
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=of_it):
        network.remove()
    for volume in client.volumes.list(filters=of_it):
        volume.remove(force=True)
    for volume in client.volumes.list(filters={"label": "remedy.kept-of"}):
        if volume.name.startswith(f"{name}-data."):  # what remediations have set aside of it
            volume.remove(force=True)
