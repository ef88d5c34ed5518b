"""The database of a compose project: reached from here, and by the names that containers use."""

import shutil
from contextlib import suppress
from pathlib import Path

from tasks.guardrails.errors import RemediationError
from tasks.platforms.compose.engine import OF_SERVICE, Engine, Found
from tasks.platforms.postgresql import PostgreSQL

PORT = 5432
DATA = "/var/lib/postgresql/data"


class ComposeDatabase(PostgreSQL):
    """A database on a PostgreSQL server in a container.

    Args:
        engine: Where the container runs.
        container: The container, as it was found.
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
        container: Found,
        target: str,
        name: str,
        user: str,
        password: str,
        maintenance_database: str,
        programs: Path | None,
    ) -> None:
        """Find its address; connects to nothing."""
        host, port = engine.reach(container, PORT)
        super().__init__(
            target=target,
            host=host,
            port=port,
            name=name,
            user=user,
            password=password,
            maintenance_database=maintenance_database,
            programs=programs,
        )
        self._engine, self._container = engine, container

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
        with suppress(RemediationError, ValueError, IndexError), self._engine.client() as client:
            container = client.containers.get(self._container.id)
            status, said = container.exec_run(["df", "-P", "-k", data])
            if status == 0 and isinstance(said, bytes):
                return int(said.decode().splitlines()[-1].split()[3]) * 1024
        return None
