"""All that a container has printed, as its engine keeps it.

Source: Docker Engine API 1.41, ContainerLogs; "View container logs" (drivers that can be read).
"""

from contextlib import suppress

from docker.errors import APIError

from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.compose.engine import Engine, Found
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.server.server_log import ContainerLog

# A time goes to the engine as a float, which does not tell less apart.
_BEHIND_NANOSECONDS = 1_000
_NANOSECONDS = 10**9
_NOT_IMPLEMENTED = 501


class ContainerPrintedLog:
    """The log of a container.

    Args:
        engine: Where it runs.
        container: The container.
    """

    def __init__(self, engine: Engine, container: Found) -> None:
        """Keep where it is; asks nothing."""
        self._engine, self._container = engine, container

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"the log of container {self._container.name}"

    def position(self) -> int:
        """Give when its last line was printed, in nanoseconds of Unix time.

        Raises:
            PreconditionFailed: The container's logging driver keeps nothing that can be read.
            Transient: The engine does not answer.
        """
        with self._engine.client() as client:
            try:
                return ContainerLog(self._engine, self._container.id).position()
            except RemediationError as error:
                cause = error.__cause__
                if not isinstance(cause, APIError) or cause.status_code != _NOT_IMPLEMENTED:
                    raise
                seen = client.api.inspect_container(self._container.id)["HostConfig"]["LogConfig"]
                raise PreconditionFailed(
                    expected=f"{self.name} to be kept by its engine.",
                    found=f"its logging driver is {seen['Type']}: {cause.explanation}.",
                    todo="Give the service `logging: driver: json-file` or local in the compose "
                    "file, or look where the driver sends the log.",
                ) from error

    def read(self, position: int, most: int) -> bytes:
        """Give what was printed since a position.

        Args:
            position: What `position` gave.
            most: Bytes that are given at most, the last ones.

        Raises:
            PreconditionFailed: The container is gone.
            Transient: The engine does not answer.
        """
        kept = bytearray()
        with self._engine.client() as client:
            # With times, the engine would write them into the middle of lines above 16 kB too.
            pieces = client.api.logs(
                self._container.id,
                stream=True,
                follow=False,
                since=(position + _BEHIND_NANOSECONDS) / _NANOSECONDS,
            )
            for piece in pieces:
                kept += piece
                if len(kept) > 2 * most:
                    del kept[:-most]
        return bytes(kept[-most:])

    def free_bytes(self) -> int | None:
        """Measure the free bytes of the container's own layer, beside which its log lies."""
        return free_inside(self._engine, self._container, "/")


def free_inside(engine: Engine, container: Found, folder: str) -> int | None:
    """Ask a container how much is free in a folder.

    Args:
        engine: Where it runs.
        container: The container.
        folder: The folder, as it sees it.

    Returns:
        Bytes; None where it does not run or has no `df`.
    """
    with suppress(RemediationError, ValueError, IndexError), engine.client() as client:
        found = client.containers.get(container.id)
        status, said = said_inside(found, ["df", "-P", "-k", folder])
        if status == 0:
            return int(said.splitlines()[-1].split()[3]) * 1024
    return None
