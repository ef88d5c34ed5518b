"""The log of a server that prints it, where whoever runs the server keeps what it prints."""

from typing import Protocol


class PrintedLog(Protocol):
    """What a server has printed, kept elsewhere than in a file of ours."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    def position(self) -> int:
        """Give where it ends now: a number to be given to `read`.

        Raises:
            PreconditionFailed: What is printed is kept nowhere where it can be read.
            Transient: Who keeps it does not answer.
        """

    def read(self, position: int, most: int) -> bytes:
        """Give what was printed since a position, without times of who keeps it.

        Args:
            position: What `position` gave.
            most: Bytes that are given at most, the last ones.

        Raises:
            PreconditionFailed: It cannot be read any more.
            Transient: Who keeps it does not answer.
        """

    def free_bytes(self) -> int | None:
        """Measure the free bytes where it is kept; None where unknowable."""
