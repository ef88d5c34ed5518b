"""The database of a compose project: reached from here, and by the names that containers use."""

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from tasks.platforms.compose.engine import OF_SERVICE, Engine, Found
from tasks.platforms.compose.server.printed_log import ContainerPrintedLog, free_inside
from tasks.platforms.postgresql import PostgreSQL

PORT = 5432
DATA = "/var/lib/postgresql/data"


class ComposeDatabase(PostgreSQL):
    """A database on a PostgreSQL server in a container.

    Args:
        engine: Where the container runs.
        find: Finds its container; asked once, when it is needed.
        target: Name of the target.
        name: Name of the database under care.
        user: The maintenance user.
        password: Its password.
        maintenance_database: Where commands run that name the one under care.
        programs: Folder of the client programs; searched for where not given.
    """

    def __init__(
        self,
        engine: Engine,
        find: Callable[[], Found],
        target: str,
        name: str,
        user: str,
        password: str,
        maintenance_database: str,
        programs: Path | None,
    ) -> None:
        """Keep where it is; asks nothing."""
        super().__init__(
            target=target,
            host="",
            port=PORT,
            name=name,
            user=user,
            password=password,
            maintenance_database=maintenance_database,
            programs=programs,
        )
        self._engine, self._find = engine, find

    def __repr__(self) -> str:
        """Show what it is without the password, and without asking the engine."""
        return f"ComposeDatabase({self.user}/{self.name} of {self.target})"

    @cached_property
    def _container(self) -> Found:
        return self._find()

    def place(self) -> tuple[str, int]:
        """Say where the server is reached from here.

        Raises:
            Transient: Its container does not run, or the engine does not answer.
            PreconditionFailed: It is not reached from here.
        """
        return self._engine.reach(self._container, PORT)

    @property
    def address(self) -> tuple[str, str]:
        """Where the application reaches the server: the service, by its port inside."""
        return self._container.labels.get(OF_SERVICE, self._container.name), str(PORT)

    def _reached(self, host: str | None, port: str | None) -> tuple[str, str]:
        """Say where an address that the application's container has is reached from here."""
        if host not in self._container.known_as:
            return super()._reached(host, port)
        inside = int(port) if port and port.isdigit() else PORT
        address, outside = self._engine.reach(self._container, inside)
        return address, str(outside)

    def free_bytes(self) -> int | None:
        """Measure the free bytes where the server keeps its data; None where unknowable."""
        data = self._container.environment.get("PGDATA", DATA)
        for mount in self._container.mounts:
            holds_data = Path(data).is_relative_to(mount.inside)
            if holds_data and self._engine.is_local and Path(mount.source).exists():
                return shutil.disk_usage(mount.source).free
        return free_inside(self._engine, self._container, data)

    def printed_log(self) -> ContainerPrintedLog:
        """Give what the server prints, as its engine keeps it."""
        return ContainerPrintedLog(self._engine, self._container)
