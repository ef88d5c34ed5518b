"""A compose project's application with revisions of a test's own, shipped in an image."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from infra.testbed.compose.system import ComposeSystem
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.crashing import PRODUCTION, Crashing, crashing
from tests.shipped import Shipped


class ShippedInImage(Shipped):
    """The application of a compose project with revisions of a test's own behind its head.

    Args:
        project: The project, which runs as ever until `take_up`.
    """

    def __init__(self, project: Crashing) -> None:
        """Keep the project; its image is made by `take_up`."""
        self.sandbox, self._project = project.system, project
        self._system, self.folder = project.system, project.system.home / "image"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.versions.mkdir(parents=True)

    def take_up(self) -> None:
        """Build the image with the revisions, and have the application run from it."""
        name = f"{self._system.project.name}-image:shipped"
        self._project.build(name, "COPY alembic/versions /app/alembic/versions")
        self._project.edit("docker-compose.prod.yml", PRODUCTION, name)
        self._project.up("app")
        self._project.until(lambda one: one.health == "healthy")
        self._system.up()

    def known(self, *, limited: bool) -> None:
        """Make the project known as a target."""
        targets.give(ComposeTarget(**self._system.target_settings(limited=limited)))


@contextmanager
def shipped_in_image(system: ComposeSystem) -> Iterator[ShippedInImage]:
    """Give a project's application to which revisions can be added; all is as before afterwards."""
    with crashing(system) as project:
        shipped = ShippedInImage(project)
        try:
            yield shipped
        finally:
            shutil.rmtree(shipped.folder)
