"""The log of a PostgreSQL server in a file of this machine, as far as it speaks of the server."""

import os
from pathlib import Path

from tasks.platforms.server_words import last_words, of_the_server

_TAIL = 262_144


class ServerLog:
    """A log in a file.

    Args:
        path: The file, or None where the target names none.
    """

    def __init__(self, path: Path | None) -> None:
        """Keep where it is."""
        self._path = path

    def position(self) -> int:
        """Give where it ends now, in bytes."""
        return self._path.stat().st_size if self._path and self._path.exists() else 0

    def since(self, position: int) -> list[str]:
        """Give what the server has said of itself since a position.

        Args:
            position: What `position` gave.

        Returns:
            Lines without their prefix; no statement, detail or answer to a client.
        """
        if self._path is None or not self._path.exists():
            return []
        with self._path.open("rb") as file:
            if position > os.fstat(file.fileno()).st_size:  # it was rotated
                position = 0
            file.seek(position)
            return of_the_server(file.read(_TAIL).decode(errors="replace"))

    def last_words(self, since: float) -> list[str]:
        """Give what it said last as FATAL or PANIC since it was started last, with hints.

        Args:
            since: Unix time; a log that was written last before it speaks of other data.
        """
        if self._path is None or not self._path.exists() or self._path.stat().st_mtime < since:
            return []
        return last_words(self.since(max(0, self.position() - _TAIL)))
