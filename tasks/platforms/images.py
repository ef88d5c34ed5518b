"""The capability of images that a project builds: from what, how, and with what result."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from tasks.platforms.applications import Completed


@dataclass(frozen=True)
class Recipe:
    """How an image of the project is built.

    Args:
        services: The services that run it.
        image: Its name, as the project's files give it; '' where the program makes one up.
        context: Folder whose files the builder gets.
        dockerfile: The Dockerfile, as seen from there.
        text: What it says.
        target: The stage that is built, '' for the last one.
        ignore: The file that says what of the folder the builder does not get.
        unable: Why the engine cannot build it by itself; '' where it can.
        arguments: Build arguments; values of secrets may be among them.
        network: Network that its steps have, '' for the engine's own choice.
    """

    services: tuple[str, ...]
    image: str
    context: Path
    dockerfile: str
    text: str
    target: str
    ignore: str
    unable: str
    arguments: Mapping[str, str] = field(repr=False)
    network: str = ""

    def __str__(self) -> str:
        """Name it by its services."""
        return f"the image of {', '.join(self.services)}"


@dataclass(frozen=True)
class Step:
    """A step of a build.

    Args:
        instruction: What the Dockerfile says, with no argument's value.
        cached: Whether it was taken from an earlier build.
        output: What it printed.
    """

    instruction: str
    cached: bool
    output: str = field(repr=False)


@dataclass(frozen=True)
class Built:
    """How a build ended.

    Args:
        image: Id of the image, '' where there is none.
        steps: The steps that it came to, in order.
        error: Why there is none; no argument's value is in it.
        made: Ids of what was made on the way, and was not there before.
    """

    image: str
    steps: tuple[Step, ...]
    error: str
    made: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A container of an image that is tried.

    Args:
        url: Where it alone is reached; '' where it does not answer.
        status: 'running', 'exited', ...
        exit_code: What it ended with.
        log: What it wrote last; values of secrets may be in it.
    """

    url: str
    status: str
    exit_code: int
    log: str = field(repr=False)


class Images(Protocol):
    """The images that a project builds."""

    def recipes(self) -> list[Recipe]:
        """Read how each image is built, those of services in any profile too.

        Raises:
            PreconditionFailed: The files cannot be read.
        """

    def dockerfiles(self, recipe: Recipe) -> dict[str, str]:
        """Read every Dockerfile below a recipe's folder: others may build from the same one."""

    def files(self, recipe: Recipe, ignore: str | None) -> dict[str, int]:
        """List what the builder gets: bytes by path; folders too, with 0.

        Args:
            recipe: The recipe.
            ignore: Text of the ignore file, None for none.

        Raises:
            PreconditionFailed: A file or folder cannot be read.
        """

    def hidden(self, lines: Sequence[str], paths: Iterable[str]) -> set[str]:
        """Say which paths lines of an ignore file hide, as the builder reads them."""

    def read(self, context: Path, name: str) -> str | None:
        """Read a file that images are built by; None where there is none.

        Raises:
            PreconditionFailed: It cannot be read.
        """

    def write(self, context: Path, name: str, text: str | None) -> None:
        """Write a file that images are built by, whole or not at all; None removes it.

        Raises:
            PreconditionFailed: It cannot be written.
        """

    def build(
        self,
        recipe: Recipe,
        remediation: str,
        *,
        ignore: str | None,
        cached: bool = True,
        replaced: Mapping[str, str] = MappingProxyType({}),
        name: str = "",
    ) -> Built:
        """Build an image, with the remediation's id on its label.

        Args:
            recipe: How.
            remediation: The id.
            ignore: Text of the ignore file, None for none.
            cached: Whether steps of earlier builds are taken over.
            replaced: Texts that it gets in the place of files, by their path.
            name: What it is called, '' for no name.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: The files cannot be read.
        """

    def forget(self, remediation: str, builds: Sequence[Built] = ()) -> None:
        """Remove images without a name that were built for a remediation; gone is fine.

        Args:
            remediation: Its id.
            builds: How they were built: what they made on the way goes as well.
        """

    def run(self, image: str, command: Sequence[str]) -> Completed:
        """Run a command in a container of an image, without network, and wait for its end.

        Args:
            image: Id or name of the image.
            command: Program and arguments.
        """

    def tried(self, image: str, seconds: float) -> AbstractContextManager[Trial]:
        """Have a container of an image while the block runs, like those that serve.

        It has settings, networks, mounts and limits of the application, and neither its name nor
        its ports: nobody sends it requests. It is waited for until it answers or ends.

        Args:
            image: Id or name of the image.
            seconds: How long it may take to answer.

        Raises:
            Transient: There is no container of the application to be like.
        """

    def remove(self, name: str) -> None:
        """Remove an image by its name, with itself where that was the last one; gone is fine.

        Raises:
            PreconditionFailed: A container is made of it.
        """


class BuildsImages(Protocol):
    """What a target has whose images are built from files."""

    @property
    def images(self) -> Images:
        """The images that it builds."""
