"""Prefect's own PostgreSQL server, private to a home: loopback only, with a password.

Sources: PostgreSQL manual, initdb; 19.5, 20.3 and 30.5 (synchronous_commit).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

from deployments.services.process import PlatformService
from infra.sandbox.cluster import service_user
from infra.sandbox.settings import HOST
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.postgresql import find_programs

USER = DATABASE = "prefect"
UP_WITHIN_SECONDS = 60.0
STARTS = 5
# What is lost in a power cut is a fraction of a second of what the UI shows: the record that
# counts is the ledger's.
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = scram-sha-256
max_connections = 60
shared_buffers = 64MB
synchronous_commit = off
log_line_prefix = '%m [%p] %u@%d %a '
"""
HBA = "host all all 127.0.0.1/32 scram-sha-256\n"
EXTENSION = "pg_trgm"  # Prefect's migrations create it


def usable_programs() -> Path | None:
    """Find PostgreSQL's programs with the extension that Prefect needs; None for SQLite."""
    try:
        programs = find_programs()
    except PreconditionFailed:
        return None
    shared = subprocess.run(
        [programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=False
    )
    folders = [Path(shared.stdout.strip() or "/nowhere"), *programs.parent.glob("share*")]
    found = any(list(folder.rglob(f"{EXTENSION}.control")) for folder in folders if folder.is_dir())
    return programs if found else None


class PrefectDatabase:
    """The server in a folder of the home.

    Args:
        home: REMEDY_HOME.
        programs: Folder of PostgreSQL's programs.
        port: Its port.
        password: Password of the user `prefect`, who owns everything there.
    """

    def __init__(self, home: Path, programs: Path, port: int, password: str) -> None:
        """Keep where it is; starts nothing."""
        self.data = home / "platform" / "postgresql"
        self._programs, self._port, self._password = programs, port, password
        self.service = PlatformService(
            name="postgresql",
            command=[programs / "postgres", "-D", self.data, "-p", str(port)],
            run=home / "run",
            logs=home / "logs",
            directory=Path("/"),
            user=service_user(),
            stop_signal=signal.SIGINT,  # fast shutdown
        )

    @property
    def url(self) -> str:
        """The URL that Prefect's server connects to."""
        return f"postgresql+asyncpg://{USER}:{self._password}@{HOST}:{self._port}/{DATABASE}"

    def start(self) -> None:
        """Make it where it is not there yet, start it unless it runs, and wait for its answer.

        Raises:
            PreconditionFailed: It does not come up.
        """
        self._make()
        self.service.start()
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        starts = 1
        while True:
            try:
                self._insist_on_database()
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

    def _insist_on_database(self) -> None:
        with psycopg.connect(
            host=HOST,
            port=self._port,
            user=USER,
            password=self._password,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
        ) as session:
            known = session.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _make(self) -> None:
        """Make the data directory, whole or not at all."""
        if self.data.exists():
            return
        parent = self.data.parent
        parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        for left_behind in parent.glob(".new-*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        data, password = draft / "data", draft / "password"
        data.mkdir(mode=0o700)
        password.write_text(self._password)
        user = service_user()
        if user is not None:
            for path in (draft, data, password):
                os.chown(path, user, user)
        self._initdb(data, password, user)
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        (data / "pg_hba.conf").write_text(HBA)
        data.rename(self.data)
        shutil.rmtree(draft)

    def _initdb(self, data: Path, password: Path, user: int | None) -> None:
        done = subprocess.run(
            [
                *(self._programs / "initdb", "--pgdata", data, "--no-sync"),
                *("--username", USER, "--pwfile", password),
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
                expected="initdb to make Prefect's PostgreSQL server.",
                found=f"{done.stdout[-500:]} {done.stderr[-1000:]}",
                todo=f"Correct what initdb names (user {user or os.geteuid()} must reach {data}), "
                "then run `remedy up` again.",
            )
