"""The containers of a compose project's services, by the engine's API."""

import time
from contextlib import suppress

from docker.errors import APIError, ImageNotFound, NotFound

from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.containers.seen import container_of, event_of, seconds
from tasks.platforms.compose.engine import OF_PROJECT, OF_SERVICE
from tasks.platforms.compose.port_holders import who_has
from tasks.platforms.compose.project import ONE_OFF, Project
from tasks.platforms.containers import ContainerEvent, Image, ServiceContainer

_DAYS = 7


class ComposeContainers:
    """The containers of a project's services.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        """Keep where they are; asks nothing."""
        self._project, self._engine = project, project.engine

    def now(self) -> float:
        """Give the time of the engine's machine.

        Raises:
            Transient: The engine does not answer.
        """
        with self._engine.client() as client:
            return seconds(client.info()["SystemTime"])

    def of(self, service: str) -> list[ServiceContainer]:
        """Look at a service's containers.

        Args:
            service: Its name.

        Returns:
            Sorted by name, those that do not run too.

        Raises:
            Transient: The engine does not answer.
        """
        found, labels = [], [*self._labels(service), f"{ONE_OFF}=False"]
        with self._engine.client() as client:
            for one in client.api.containers(all=True, filters={"label": labels}):
                with suppress(NotFound):  # removed meanwhile
                    found.append(container_of(client.api.inspect_container(one["Id"])))
        return sorted(found, key=lambda one: one.name)

    def _labels(self, service: str) -> list[str]:
        return [f"{OF_PROJECT}={self._project.name}", f"{OF_SERVICE}={service}"]

    def log(self, container: str, lines: int, since: float) -> str:
        """Read the last lines that a container wrote.

        Args:
            container: Its id.
            lines: How many.
            since: Only what was written later, as Unix time; before 1970 for all.

        Returns:
            Them; '' where its log is kept elsewhere, or it is gone.

        Raises:
            Transient: The engine does not answer.
        """
        with self._engine.client() as client:
            try:
                said = client.api.logs(container, tail=lines, since=max(1, int(since)))
            except APIError as error:
                if isinstance(error, NotFound) or "logging driver" in str(error.explanation):
                    return ""
                raise
        return bytes(said).decode(errors="replace")

    def events(self, service: str) -> list[ContainerEvent]:
        """Give what the engine still knows to have happened to a service's containers.

        Args:
            service: Its name.

        Returns:
            In order, of seven days at most; an engine keeps the last 256 events of all kinds.

        Raises:
            Transient: The engine does not answer.
        """
        until = int(time.time()) + 1
        with self._engine.client() as client:
            found = client.events(
                since=until - _DAYS * 24 * 3600,
                until=until,
                filters={"type": "container", "label": self._labels(service)},
                decode=True,
            )
            return [event_of(one) for one in found]

    def image(self, known_as: str) -> Image | None:
        """Look for an image.

        Args:
            known_as: Its id or name.

        Returns:
            None where the engine has none.

        Raises:
            Transient: The engine does not answer.
        """
        with self._engine.client() as client:
            try:
                seen = client.images.get(known_as).attrs
            except ImageNotFound:
                return None
        return Image(seen["Id"], tuple(seen.get("RepoTags") or ()), str(seen.get("Created", "")))

    def name_image(self, image: str, name: str) -> None:
        """Give an image one more name.

        Args:
            image: Its id.
            name: The name, with a tag.

        Raises:
            PreconditionFailed: The engine refuses.
        """
        insist_on_fence()
        repository, _, tag = name.rpartition(":")
        with self._engine.client() as client:
            client.api.tag(image, repository, tag)

    def unname_image(self, name: str, otherwise: str) -> None:
        """Take a name away; the image that it named stays, without any where it had no other.

        Args:
            name: The name, with a tag.
            otherwise: Id of another image, which has a name of its own.

        Raises:
            PreconditionFailed: The engine refuses.
        """
        insist_on_fence()
        repository, _, tag = name.rpartition(":")
        with self._engine.client() as client:
            # An image whose last name is removed goes with it: so another one has it then.
            client.api.tag(otherwise, repository, tag)
            with suppress(ImageNotFound):
                client.api.remove_image(name, noprune=True)

    def holders(self, port: int) -> list[str]:
        """Say who is reached at a port of the machine.

        Args:
            port: The port.

        Returns:
            Containers that are published there; else, of this machine, the processes that listen.

        Raises:
            Transient: The engine does not answer.
        """
        return [str(one) for one in who_has(self._engine, port)]
