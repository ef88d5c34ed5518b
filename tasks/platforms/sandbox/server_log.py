"""The log of a PostgreSQL server, as far as it speaks of the server itself."""

import os
import re
from pathlib import Path

_TAIL = 262_144
_SHOWN = 6
_SEVERITY = re.compile(r"\b(LOG|FATAL|PANIC|HINT): +(.*)")
# Of LOG only what a server says of its start and end: statements are logged at LOG, too.
_OF_THE_SERVER = re.compile(
    r"starting PostgreSQL|listening on|database system|redo |syncing data|checkpoint |"
    r"could not|invalid |received .*shutdown|all server processes|startup process|"
    r"server process|terminating any other|archive recovery|entering standby|configuration file|"
    r"unrecognized|lock file|selected new timeline"
)
# What FATAL says to a client, while the server itself is well.
_TO_A_CLIENT = re.compile(
    r"authentication failed|pg_hba.conf (entry|rejects)|the database system is|slots|too many|"
    r"terminating connection|(role|database) .*does not exist|connection to client lost|"
    r"is not permitted|not currently accepting|unsupported frontend"
)


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
            text = file.read(_TAIL).decode(errors="replace")
        said: list[str] = []
        follows = False  # a hint speaks of the line before it
        for found in text.splitlines():
            line = _of_the_server(found)
            if line and (follows or not line.startswith("HINT")):
                said.append(line)
            follows = bool(line)
        return said

    def last_words(self, since: float) -> list[str]:
        """Give what it said last as FATAL or PANIC since it was started last, with hints.

        Args:
            since: Unix time; a log that was written last before it speaks of other data.
        """
        if self._path is None or not self._path.exists() or self._path.stat().st_mtime < since:
            return []
        said = self.since(max(0, self.position() - _TAIL))
        starts = [i for i, line in enumerate(said) if "starting PostgreSQL" in line]
        last = said[starts[-1] :] if starts else said
        return [line for line in last if not line.startswith("LOG")][-_SHOWN:]


def _of_the_server(line: str) -> str:
    found = _SEVERITY.search(line)
    if found is None:
        return ""
    severity, text = found.groups()
    if severity == "LOG" and not _OF_THE_SERVER.match(text):
        return ""
    if severity == "FATAL" and _TO_A_CLIENT.search(text):
        return ""
    return f"{severity}: {text}"
