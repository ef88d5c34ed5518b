"""The sandbox's own PostgreSQL server, with its roles and its database.

Sources: PostgreSQL manual, 20.4 and 20.5 (configuration); 22.5 (predefined roles).
"""

import contextlib
from functools import partial
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.errors import DuplicateDatabase, UniqueViolation
from psycopg.rows import TupleRow

from infra.sandbox.database_server import DatabaseServer
from infra.sandbox.processes import Service
from infra.sandbox.settings import SandboxSettings
from tasks.platforms.postgresql import find_programs

# Extensions that the maintenance user may use but not create: none is trusted.
EXTENSIONS = ("amcheck", "pg_stat_statements")
# Predefined roles of the maintenance user; pg_checkpoint came with version 15.
MAINTENANCE_ROLES = {"pg_signal_backend", "pg_monitor", "pg_checkpoint"}
_ORDINARY: LiteralString = "LOGIN NOSUPERUSER VALID UNTIL 'infinity'"
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
        owner = sql.Identifier(self.settings.application_user)
        admin = sql.Identifier(self.settings.maintenance_user)
        with self.connect() as session:
            roles = _names(session, "SELECT rolname FROM pg_roles")
            for name, password, options in self._roles():
                verb = sql.SQL("ALTER ROLE" if name in roles else "CREATE ROLE")
                # pg_stat_statements keeps the statement; who reads it gets no password by it.
                verifier = session.pgconn.encrypt_password(password.encode(), name.encode())
                session.execute(
                    sql.SQL("{} {} PASSWORD {} " + options).format(
                        verb, sql.Identifier(name), sql.Literal(verifier.decode())
                    )
                )
            session.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(owner, admin))
            for role in MAINTENANCE_ROLES & roles:
                session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), admin))
            database = self.settings.database
            if database not in _names(session, "SELECT datname FROM pg_database"):
                # The server may still carry it out for a starter that was killed.
                with contextlib.suppress(UniqueViolation, DuplicateDatabase):
                    session.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                            sql.Identifier(database), owner
                        )
                    )
        self.extend(database)

    def _roles(self) -> list[tuple[str, str, LiteralString]]:
        """Give name, password and options of each role."""
        settings = self.settings
        return [
            (settings.application_user, settings.application_password, _ORDINARY),
            (
                settings.maintenance_user,
                settings.maintenance_password,
                "LOGIN NOSUPERUSER CREATEDB NOCREATEROLE",
            ),
        ]

    def extend(self, database: str) -> None:
        """Create the extensions in a database, as its superuser has done for remediations."""
        with self.connect(database) as session:
            there = session.execute("SELECT name FROM pg_available_extensions").fetchall()
            for name in EXTENSIONS:
                if (name,) in there:
                    session.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
            session.execute(
                sql.SQL(
                    "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid FROM pg_proc p"
                    " JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'"
                    " JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'amcheck'"
                    " LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {}', f);"
                    " END LOOP; END $$"
                ).format(sql.Identifier(self.settings.maintenance_user))
            )


def _configuration(programs: Path, *, durable: bool) -> str:
    library = programs.parent / "lib" / "pg_stat_statements.so"
    libraries = [library, library.parent / "postgresql" / library.name]
    return CONFIGURATION.format(
        durable="on" if durable else "off",
        preload="pg_stat_statements" if any(path.exists() for path in libraries) else "",
    )


def _names(session: "psycopg.Connection[TupleRow]", query: LiteralString) -> set[str]:
    return {str(name) for (name,) in session.execute(query).fetchall()}
