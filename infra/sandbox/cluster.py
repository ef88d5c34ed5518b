"""The sandbox's own PostgreSQL server: made, configured and given its roles and database.

Sources: PostgreSQL manual, initdb; 19.5 and 20.3 (configuration); 22.5 (predefined roles).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from infra.sandbox.processes import Service
from infra.sandbox.settings import HOST, SandboxSettings
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.postgresql import find_programs

NOBODY = 65534  # initdb and postgres refuse root
UP_WITHIN_SECONDS = 60.0
STARTS = 5
# Extensions that the maintenance user may use but not create: none is trusted.
EXTENSIONS = ("amcheck", "pg_stat_statements")
# Predefined roles of the maintenance user; pg_checkpoint came with version 15.
MAINTENANCE_ROLES = {"pg_signal_backend", "pg_monitor", "pg_checkpoint"}
CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = scram-sha-256
max_connections = 100
shared_buffers = 128MB
max_wal_size = 2GB
log_line_prefix = '%m [%p] %u@%d %a '
log_timezone = UTC
timezone = UTC
fsync = {durable}
full_page_writes = {durable}
synchronous_commit = {durable}
shared_preload_libraries = '{preload}'
"""
HBA = "host all all 127.0.0.1/32 scram-sha-256\n"


def service_user() -> int | None:
    """Give the user that services run as: nobody where we are root, else ourselves."""
    return NOBODY if os.geteuid() == 0 else None


class Cluster:
    """A PostgreSQL server in a folder of the sandbox's home.

    Args:
        home: The sandbox's home.
        settings: The sandbox's settings.
        run: Folder of the records of processes.
        logs: Folder of the logs.
    """

    def __init__(self, home: Path, settings: SandboxSettings, run: Path, logs: Path) -> None:
        """Keep where it is; starts nothing."""
        self.settings, self.data = settings, home / "postgresql"
        self.programs = find_programs()
        self.service = Service(
            name="postgresql",
            command=[self.programs / "postgres", "-D", self.data],
            run=run,
            logs=logs,
            directory=home,
            user=service_user(),
            stop_signal=signal.SIGINT,  # fast shutdown
        )

    def make(self) -> None:
        """Make the server's data directory, unless it is there; whole or not at all."""
        if self.data.exists():
            return
        home = self.data.parent
        for left_behind in home.glob(".new-*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        # A folder of its own: an initdb whose starter was killed may still write to its.
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
        data, password = draft / "data", draft / "password"
        data.mkdir(mode=0o700)
        password.write_text(self.settings.superuser_password)
        user = service_user()
        if user is not None:
            for path in (draft, data, password):
                os.chown(path, user, user)
            _passable(home)
        self._initdb(data, password)
        self._configure(data)
        data.rename(self.data)
        shutil.rmtree(draft)

    def _initdb(self, data: Path, password: Path) -> None:
        user = service_user()
        done = subprocess.run(
            [
                *(self.programs / "initdb", "--pgdata", data, "--no-sync", "--data-checksums"),
                *("--username", self.settings.superuser, "--pwfile", password),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
            ],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PreconditionFailed(
                expected="initdb to make the sandbox's PostgreSQL server.",
                found=f"{done.stdout[-500:]} {done.stderr[-1000:]}",
                state="The sandbox has no server.",
                todo="Correct what initdb names, then start the sandbox again.",
            )

    def _configure(self, data: Path) -> None:
        library = self.programs.parent / "lib" / "pg_stat_statements.so"
        libraries = [library, library.parent / "postgresql" / library.name]
        text = CONFIGURATION.format(
            port=self.settings.ports["postgresql"],
            durable="on" if self.settings.durable else "off",
            preload="pg_stat_statements" if any(path.exists() for path in libraries) else "",
        )
        with (data / "postgresql.conf").open("a") as file:
            file.write(text)
        (data / "pg_hba.conf").write_text(HBA)

    def connect(
        self, database: str | None = None, user: str | None = None, password: str | None = None
    ) -> "psycopg.Connection[tuple[object, ...]]":
        """Connect, as the superuser unless told otherwise; each statement commits by itself."""
        return psycopg.connect(
            host=HOST,
            port=self.settings.ports["postgresql"],
            dbname=database or self.settings.database,
            user=user or self.settings.superuser,
            password=password or self.settings.superuser_password,
            connect_timeout=5,
            autocommit=True,
            application_name="sandbox",
        )

    def start(self) -> None:
        """Start the server, unless it runs, and wait until it answers.

        Raises:
            PreconditionFailed: It does not come up.
        """
        self.service.start()
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        starts = 1
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError as error:
                ended = self.service.process() is None
                if time.monotonic() > deadline or (ended and starts == STARTS):
                    raise self.service.failed("answer") from error
                if ended:  # the processes of one that was killed are still ending
                    time.sleep(1)
                    starts += 1
                    self.service.start()
                time.sleep(0.05)
            else:
                return

    def prepare(self) -> None:
        """Make the roles and the database; what is there already is set as it shall be."""
        owner = sql.Identifier(self.settings.application_user)
        admin = sql.Identifier(self.settings.maintenance_user)
        with self.connect("postgres") as session:
            roles = _names(session, "SELECT rolname FROM pg_roles")
            for name, password, options in self._roles():
                verb = sql.SQL("ALTER ROLE" if name in roles else "CREATE ROLE")
                session.execute(
                    sql.SQL("{} {} PASSWORD {} " + options).format(
                        verb, sql.Identifier(name), sql.Literal(password)
                    )
                )
            session.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(owner, admin))
            for role in MAINTENANCE_ROLES & roles:
                session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), admin))
            database = self.settings.database
            if database not in _names(session, "SELECT datname FROM pg_database"):
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
            (settings.application_user, settings.application_password, "LOGIN NOSUPERUSER"),
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


def _names(session: "psycopg.Connection[tuple[object, ...]]", query: LiteralString) -> set[str]:
    return {str(name) for (name,) in session.execute(query).fetchall()}


def _passable(home: Path) -> None:
    for folder in (home, *home.parents):
        if not folder.stat().st_mode & 0o001:
            raise PreconditionFailed(
                expected=f"a home of the sandbox that user {NOBODY}, as whom it runs, can reach.",
                found=f"{folder} shuts others out.",
                todo=f"Run `chmod o+x {folder}`, or give the sandbox another home.",
            )
