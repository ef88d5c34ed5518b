"""The capability of a host: the machine that a target runs on, by commands."""

from collections.abc import Sequence
from typing import Protocol

from tasks.platforms.applications import Completed


class Host(Protocol):
    """The machine on which a target's processes or containers run."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before each command, as `sudo -n`."""

    def run(self, command: Sequence[str], given: str = "") -> Completed:
        """Run a command there that ends with us, and wait for its end.

        Args:
            command: Program and arguments; no secret among them.
            given: What it reads from its standard input.

        Returns:
            How it ended; status 127 where the machine has no such program.
        """


class Hosted(Protocol):
    """What a target has whose machine is within reach."""

    @property
    def machine(self) -> Host:
        """The machine that it runs on."""
