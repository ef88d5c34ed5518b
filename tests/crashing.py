"""A compose project whose application is broken for real, and looked at from outside."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from docker import DockerClient
from docker.errors import ImageNotFound, NotFound
from docker.models.containers import Container

from infra.testbed.compose.project import FILES
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.building import build
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget

PRODUCTION = "planner-app:production"


@dataclass
class Crashing:
    """A compose project that is broken, and put right again afterwards.

    Args:
        system: The project.
        client: Its engine.
        more: Compose files of the test's own.
    """

    system: ComposeSystem
    client: DockerClient
    more: list[str] = field(default_factory=list)

    def container(self, service: str = "app") -> Container:
        """Give a service's container as it is now."""
        return self.system.project.container(service)

    def image_of(self, container: Container | None = None) -> str:
        """Give the id of the image that a container was made of; the application's by default."""
        return str((container or self.container()).attrs["Image"])

    def texts(self) -> dict[str, bytes]:
        """Read the files in the project's folder."""
        return {one.name: one.read_bytes() for one in self.system.folder.iterdir() if one.is_file()}

    def up(self, *services: str, fails: bool = False) -> None:
        """Bring services up as a person does."""
        files = (*FILES, *self.more)
        with suppress(*([PreconditionFailed] if fails else [])):
            self.system.project.run(
                *("up", "-d", "--no-build", "--no-deps"), *services, files=files
            )

    def add(self, name: str, text: str) -> None:
        """Lay one more compose file over the others."""
        (self.system.folder / name).write_text(text)
        self.more.append(name)
        self.known()

    def known(self) -> None:
        """Make it known as a target, with its files."""
        fields = self.system.target_settings()
        targets.give(ComposeTarget(**{**fields, "compose_files": [*FILES, *self.more]}))

    def set(self, name: str, value: str) -> None:
        """Write another value of a setting into `.env`."""
        lines = self.system.dotenv.read_text().splitlines()
        self.system.dotenv.write_text(
            "".join(
                f"{name}={value}\n" if line.startswith(f"{name}=") else f"{line}\n"
                for line in lines
            )
        )

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a part of a file that is there once."""
        path = self.system.folder / file
        text = path.read_text()
        assert text.count(old) == 1, (file, old)
        path.write_text(text.replace(old, new))

    def image(self, name: str) -> str:
        """Give the id of an image, '' where there is none."""
        with suppress(ImageNotFound):
            return str(self.client.images.get(name).id)
        return ""

    def build(self, name: str, *steps: str) -> str:
        """Build an image on the application's, without any registry; give its id."""
        folder = self.system.home / "image"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(
            "\n".join([f"FROM {PRODUCTION}", "USER root", *steps, "USER 65534:65534"])
        )
        build(self.client, folder, name, PRODUCTION, recipe="test")
        return self.image(name)

    def until(self, is_so: Callable[[Container], object], service: str = "app") -> Container:
        """Wait until something is so of a container, two minutes at the most."""
        deadline = time.monotonic() + 120
        while True:
            with suppress(LookupError, NotFound):
                found = self.container(service)
                if is_so(found):
                    return found
            assert time.monotonic() < deadline, "it never was so"
            time.sleep(0.1)


def ends_again(container: Container) -> bool:
    """Say whether the engine has started a container again more than once."""
    return int(container.attrs["RestartCount"]) > 1


@contextmanager
def crashing(system: ComposeSystem) -> Iterator[Crashing]:
    """Give a project to break; files, containers and images are as before afterwards."""
    with closing(system.project.engine.client()) as client:
        found = Crashing(system, client)
        found.known()
        before, made = found.texts(), f"{system.project.name}-image"
        try:
            yield found
        finally:
            extra = found.more
            for name in set(found.texts()) - set(before):
                (system.folder / name).unlink()
            for name, data in before.items():
                (system.folder / name).write_bytes(data)
            if extra:
                system.project.run("up", "-d", "--no-build", "--remove-orphans")
            system.up()
            # Others' images may go while a list of all is read.
            for image in client.images.list(filters={"reference": f"{made}*"}):
                for tag in image.tags:
                    if tag.startswith(made):
                        client.images.remove(tag, force=True)
