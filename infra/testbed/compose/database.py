"""The database's container of a compose project, for whoever breaks its files."""

from collections.abc import Callable
from pathlib import Path

from docker.models.containers import Container

from tasks.guardrails.errors import PreconditionFailed

DATA = "/var/lib/postgresql/data"
_SECONDS = 60


class ComposeDatabase:
    """A database whose data lies in a volume.

    Args:
        container: Gives its container.
    """

    def __init__(self, container: Callable[[], Container]) -> None:
        """Keep how it is found."""
        self._container = container

    @property
    def data(self) -> Path:
        """The folder of its data on this machine.

        Raises:
            PreconditionFailed: The engine keeps it elsewhere.
        """
        mounts = self._container().attrs["Mounts"]
        found = Path(next(one["Source"] for one in mounts if one["Destination"] == DATA))
        if not found.is_dir():
            raise PreconditionFailed(
                expected=f"the database's files in {found}.",
                found="nothing that we can read: the engine is elsewhere, or we are not root.",
                todo="Run the tests as root beside the engine.",
            )
        return found

    def stop(self) -> None:
        """Stop it in good order."""
        self._container().stop(timeout=_SECONDS)

    @property
    def runs(self) -> bool:
        """Whether its container runs."""
        container = self._container()
        return bool(container.status == "running")

    def kill(self) -> None:
        """End it at once, as `kill -9` does: its container ends with all of its processes."""
        container = self._container()
        container.kill()
        container.wait()
