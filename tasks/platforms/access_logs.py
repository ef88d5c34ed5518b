"""The capability of an access log: what the proxy has written down of requests."""

from collections.abc import Sequence
from typing import Protocol


class AccessLog(Protocol):
    """The log of requests that a proxy before the application writes."""

    def lines(self, most: int) -> Sequence[str]:
        """Read its newest lines; none where it writes none.

        Args:
            most: How many at most.

        Raises:
            PreconditionFailed: There is no proxy whose log could be read.
        """


class Logging(Protocol):
    """What a target has whose requests are written down."""

    @property
    def access_log(self) -> AccessLog:
        """The log of requests."""
