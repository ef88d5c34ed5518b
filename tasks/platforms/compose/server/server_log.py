"""The log of a server in a container, as far as it speaks of the server."""

import re
from datetime import datetime

from tasks.platforms.compose.engine import Engine
from tasks.platforms.server_words import last_words, of_the_server

_TAIL = 2000
_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z ?(.*)")
_NANOSECONDS = 10**9


class ContainerLog:
    """What a container has printed, as its engine keeps it.

    Args:
        engine: The engine.
        container: Id of the container, '' where there is none.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        """Keep where it is."""
        self._engine, self._container = engine, container

    def position(self) -> int:
        """Give when its last line was printed, in nanoseconds of Unix time."""
        lines = self._lines(1)
        return lines[-1][0] if lines else 0

    def since(self, position: int) -> list[str]:
        """Give what the server has said of itself since a position.

        Args:
            position: What `position` gave.

        Returns:
            Lines without their prefix; no statement, detail or answer to a client.
        """
        return of_the_server("\n".join(line for at, line in self._lines(_TAIL) if at > position))

    def last_words(self, since: float) -> list[str]:
        """Give what it said last as FATAL or PANIC since it was started last, with hints.

        Args:
            since: Unix time; a log that was written last before it speaks of other data.
        """
        if self.position() < since * _NANOSECONDS:
            return []
        return last_words(self.since(0))

    def _lines(self, most: int) -> list[tuple[int, str]]:
        if not self._container:
            return []
        with self._engine.client() as client:
            container = client.containers.get(self._container)
            said = container.logs(tail=most, timestamps=True).decode(errors="replace")
        return [
            (nanoseconds(found[1], found[2]), found[3])
            for line in said.splitlines()
            if (found := _LINE.fullmatch(line))
        ]


def nanoseconds(second: str, fraction: str | None) -> int:
    """Read a time of the engine, exact to the nanosecond.

    Args:
        second: As 2026-01-31T23:59:59, in UTC.
        fraction: What is behind the dot, None for nothing.

    Returns:
        Unix time in nanoseconds.
    """
    whole = int(datetime.fromisoformat(f"{second}+00:00").timestamp())
    return whole * _NANOSECONDS + int((fraction or "0").ljust(9, "0")[:9])
