"""The sandbox's own PostgreSQL server, with its roles and its database.

Source: PostgreSQL manual, 20.4 and 20.5 (configuration).
"""

from functools import partial
from pathlib import Path

from infra.sandbox.database_server import DatabaseServer
from infra.sandbox.processes import Service
from infra.sandbox.roles import extend, prepare
from infra.sandbox.settings import SandboxSettings
from tasks.platforms.postgresql_programs import find_programs

CONFIGURATION = """
max_connections = 100
shared_buffers = 128MB
max_wal_size = 2GB
log_timezone = UTC
timezone = UTC
fsync = {durable}
full_page_writes = {durable}
synchronous_commit = {durable}
shared_preload_libraries = '{preload}'
"""


class Cluster(DatabaseServer):
    """A PostgreSQL server in a folder of the sandbox's home.

    Args:
        home: The sandbox's home.
        settings: The sandbox's settings.
        run: Folder of the records of processes.
        logs: Folder of the logs.
    """

    def __init__(self, home: Path, settings: SandboxSettings, run: Path, logs: Path) -> None:
        """Keep where it is; starts nothing."""
        self.settings = settings
        programs = find_programs()
        super().__init__(
            data=home / "postgresql",
            programs=programs,
            port=settings.ports["postgresql"],
            user=settings.superuser,
            password=settings.superuser_password,
            configuration=_configuration(programs, durable=settings.durable),
            service=partial(Service, run=run, logs=logs),
        )

    def initialise(self) -> None:
        """Make the server where there is none, start it, and make what `prepare` makes."""
        self.make()
        self.start()
        self.prepare()

    def prepare(self) -> None:
        """Make the roles and the database; what is there already is set as it shall be."""
        prepare(self.settings, self.connect)

    def extend(self, database: str) -> None:
        """Create the extensions in a database, as its superuser has done for remediations."""
        extend(self.settings, self.connect, database)


def _configuration(programs: Path, *, durable: bool) -> str:
    library = programs.parent / "lib" / "pg_stat_statements.so"
    libraries = [library, library.parent / "postgresql" / library.name]
    return CONFIGURATION.format(
        durable="on" if durable else "off",
        preload="pg_stat_statements" if any(path.exists() for path in libraries) else "",
    )
