"""The capability of an application: its processes, its settings, and commands inside it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """How a command inside the application ended."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True)
class Replica:
    """A process or container of the application.

    Args:
        name: Its name.
        url: Where it alone is reached, past the proxy.
        runs: Whether it does.
        drained: Whether it gets no requests.
        replaceable: Whether something can be made to stand in for it (see `stand_in`).
        settings: What it was started with; values of secrets among them.
    """

    name: str
    url: str
    runs: bool
    drained: bool
    replaceable: bool = False
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def serves(self) -> bool:
        """Whether it runs and gets requests."""
        return self.runs and not self.drained


class Application(Protocol):
    """The web application that uses the database."""

    url: str

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Completed:
        """Run a command as the application ships it, with settings laid over its own."""

    def pause(self, seconds: float) -> AbstractContextManager[bool]:
        """Hold new requests back while the block runs; yields whether that was possible.

        The pause ends by itself after `seconds`, whatever becomes of the caller.
        """

    def settings(self) -> dict[str, str]:
        """Read the settings that a replica is started with now."""

    def unset(self) -> tuple[str, ...]:
        """Name settings without which nothing would be started, and that are not set."""

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change some of these settings, whole or not at all; comments and order stay.

        Raises:
            PreconditionFailed: They are kept nowhere that can be written to.
            BadInput: A value cannot be written there.
        """

    def configuration(self) -> str:
        """Give the text in which the settings are kept, secrets among them, for `put_back`."""

    def put_back(self, text: str, written: Mapping[str, str], old: Mapping[str, str]) -> None:
        """Take `configure(written)` back; put back already is fine.

        The text is as it was where nothing else was edited since; else only those settings are.
        """

    def replicas(self) -> list[Replica]:
        """Look at the application's replicas.

        Raises:
            PreconditionFailed: The target does not say which there are.
        """

    def stand_in(self, name: str) -> bool:
        """Have something serve in a replica's place until it is admitted again.

        Returns:
            Whether that is so now; false where the platform has nothing that could.

        Raises:
            PreconditionFailed: What should stand in does not come up; the replica serves.
        """

    def drain(self, name: str) -> None:
        """Send a replica no new requests, and wait until it has none in flight.

        Raises:
            Transient: Its requests did not end; it gets new ones again.
        """

    def restart(self, name: str) -> None:
        """Stop a replica, start it with the settings as they are now, wait until it answers.

        Raises:
            PreconditionFailed: It does not come up.
        """

    def admit(self, name: str) -> None:
        """Send a replica requests again."""
