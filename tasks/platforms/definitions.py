"""The capability of a definition: the files that say which services there are, and what of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tasks.guardrails.errors import PreconditionFailed

if TYPE_CHECKING:
    from tasks.platforms.compose_programs import ComposePrograms


@dataclass(frozen=True)
class Reading:
    """What the platform's own program makes of the files.

    Args:
        said: What it warns of or refuses, without values that may be secret.
        project: What it makes of them; None where it refuses. Values of secrets among it.
        fingerprints: By service, what changes where the program would make its container anew.
    """

    said: tuple[str, ...]
    project: Mapping[str, Any] | None = field(repr=False)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @property
    def services(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Each service by its name; None where it refuses."""
        return None if self.project is None else self.project.get("services") or {}

    def whole(self) -> Mapping[str, Any]:
        """Give what it makes of the files.

        Raises:
            PreconditionFailed: It refuses them.
        """
        if self.project is None:
            raise PreconditionFailed(
                expected="compose files that compose reads.",
                found=f"it refuses them: {'; '.join(self.said)}.",
                todo="Correct what it names; modernise_compose_file does where it is old syntax.",
            )
        return self.project

    def service(self, name: str, todo: str = "Choose one of these.") -> Mapping[str, Any]:
        """Give what it makes of a service.

        Args:
            name: Its name.
            todo: What a person does where there is none of that name.

        Raises:
            PreconditionFailed: It refuses the files, or they name no such service.
        """
        services: Mapping[str, Mapping[str, Any]] = self.whole().get("services") or {}
        if name not in services:
            raise PreconditionFailed(
                expected=f"a service {name!r} in the compose files.",
                found=f"{', '.join(sorted(services))}.",
                todo=todo,
            )
        return services[name]


@dataclass(frozen=True)
class Program:
    """The program that reads the files.

    Args:
        name: How it is called, as 'docker compose'.
        version: Its version, as (2, 29, 7).
    """

    name: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        """Name it with its version."""
        return f"{self.name} {'.'.join(map(str, self.version))}"


class Definition(Protocol):
    """The files of a project, each laid over those before it."""

    def texts(self) -> dict[str, str]:
        """Read the files: text by name, in the order in which they are laid over one another.

        Raises:
            PreconditionFailed: One cannot be read.
        """

    def program(self) -> Program:
        """Ask the program that reads the files for its version."""

    @property
    def programs(self) -> "ComposePrograms":
        """The programs of this machine that may read them."""

    def read(self, texts: Mapping[str, str] | None = None) -> Reading:
        """Have the program read the files as they are, or other texts in their places.

        Args:
            texts: Text by name, for those that are to be read otherwise than they stand there.
        """

    def write(self, texts: Mapping[str, str], *, tried: bool = True) -> None:
        """Put other texts into files, each whole or not at all; owner and rights stay.

        Args:
            texts: Text by name.
            tried: Whether the program has to read them first; not where what it refused before
                is put back.

        Raises:
            PreconditionFailed: The program refuses them together; nothing is written.
        """

    def made_from(self) -> dict[str, str]:
        """Give the fingerprint with which each service's container was made."""

    def volumes(self) -> frozenset[str]:
        """Name the volumes that there are on the engine, whoever made them."""


class Defined(Protocol):
    """What a target has whose services are defined in files."""

    @property
    def definition(self) -> Definition:
        """The files that define its services."""
