"""The capability of a host: the machine that a target runs on, by commands."""

from collections.abc import Sequence
from typing import Protocol

from tasks.platforms.applications import Completed


class Host(Protocol):
    """The machine on which a target's processes or containers run."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before each command, as `sudo -n`."""

    @property
    def configuration(self) -> str:
        """The folder of its configuration: /etc, with fstab and sysctl.d in it."""

    def run(self, command: Sequence[str], given: str = "") -> Completed:
        """Run a command there that ends with us, and wait for its end.

        Args:
            command: Program and arguments; no secret among them.
            given: What it reads from its standard input.

        Returns:
            How it ended; status 127 where the machine has no such program.
        """

    def act(self, doing: str, command: Sequence[str]) -> str:
        """Run a command that changes the machine, under our lease.

        Args:
            doing: What it does, as 'to swap to /swapfile', for whoever reads that it failed.
            command: Program and arguments; no secret among them.

        Returns:
            What it said.

        Raises:
            LeaseLost: The lease ran out; nothing was run.
            PreconditionFailed: It did not end well.
        """

    def read(self, path: str) -> str | None:
        """Read a text file; None where there is none.

        Args:
            path: Where, absolute.

        Raises:
            PreconditionFailed: It cannot be read.
        """

    def write(self, path: str, text: str) -> None:
        """Write a text file whole or not at all; owner and rights of one that is there stay.

        Args:
            path: Where, absolute; a link is followed. A new file can be read by everybody.
            text: Its text.

        Raises:
            LeaseLost: The lease ran out; nothing was written.
            PreconditionFailed: It cannot be written; it is as it was.
        """


class Hosted(Protocol):
    """What a target has whose machine is within reach."""

    @property
    def machine(self) -> Host:
        """The machine that it runs on."""
