"""The disks of a compose project: of this machine, or seen from inside of its containers."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from docker.errors import NotFound

from tasks.guardrails.errors import RemediationError
from tasks.platforms.compose.database import DATA
from tasks.platforms.compose.engine import Engine, Found
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.project import Project
from tasks.platforms.disks import DeletedFiles, Place
from tasks.platforms.local_disks import find_deleted_files, measure_place

_BLOCK = 1024
_COLUMNS = 6


class ComposeDisks:
    """The disks on which database, backups and engine keep their data.

    Args:
        project: The compose project.
        database_service: Service of the database.
        backups: Folder of the backups on this machine.
        root: Measures where the engine keeps its data.
    """

    def __init__(
        self,
        project: Project,
        database_service: str,
        backups: Path,
        root: Callable[[], Place | None],
    ) -> None:
        """Keep where they are; looks at nothing."""
        self._project, self._service = project, database_service
        self._backups, self._root = backups, root

    def places(self) -> tuple[tuple[Place, ...], tuple[str, ...]]:
        """Measure where database, backups and engine keep their data.

        Returns:
            The places, and a sentence for each that cannot be measured from here.
        """
        found: list[Place] = []
        unknown: list[str] = []
        looks: dict[str, Callable[[], Place | str | None]] = {
            "database": self._database,
            "backups": lambda: measure_place("backups", self._backups),
            "engine's data": self._root,
        }
        for what, look in looks.items():
            try:
                seen = look()
            except RemediationError as error:
                seen = f"{what}: {error.found}"
            if isinstance(seen, Place):
                found.append(seen)
            else:
                unknown.append(seen or f"{what}: its disk cannot be measured from here.")
        return tuple(found), tuple(unknown)

    def _database(self) -> Place | str | None:
        engine = self._project.engine
        container = self._project.container(self._service)
        data = container.environment.get("PGDATA", DATA)
        for mount in container.mounts:
            here = Path(mount.source)
            if Path(data).is_relative_to(mount.inside) and engine.is_local and here.exists():
                return measure_place("database", here)
        return measure_inside(engine, container, "database", data)

    def deleted_files(self) -> DeletedFiles | None:
        """Find deleted files that are still open; None where the engine's machine is elsewhere."""
        if not self._project.engine.is_local:
            return None
        found, _ = self.places()
        return find_deleted_files(one.device for one in found if one.device is not None)


def measure_inside(engine: Engine, container: Found, what: str, path: str) -> Place | None:
    """Measure the file system under a folder of a container by its own `df`.

    Args:
        engine: The engine.
        container: A container that runs.
        what: What lies there.
        path: The folder, as the container sees it.

    Returns:
        How full it is; None where the container has no such program.
    """
    bytes_ = _df(engine, container, "-k", path)
    inodes = _df(engine, container, "-i", path) or (0, 0)
    if bytes_ is None:
        return None
    size, free = (one * _BLOCK for one in bytes_)
    return Place(what, path, size, free, *inodes)


def _df(engine: Engine, container: Found, unit: str, path: str) -> tuple[int, int] | None:
    """Give the whole and what is free of it, as `df` counts them."""
    with engine.client() as client, suppress(NotFound, ValueError, IndexError):
        found = client.containers.get(container.id)
        status, said = said_inside(found, ["df", "-P", unit, path])
        if status == 0:
            columns = said.splitlines()[-1].split()[-_COLUMNS:]
            return int(columns[1]), int(columns[3])
    return None
