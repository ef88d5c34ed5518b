"""Prefect's own PostgreSQL server, private to a home.

Source: PostgreSQL manual, 20.5 (synchronous_commit).
"""

import subprocess
from functools import partial
from pathlib import Path

from psycopg import sql

from deployments.services.process import PlatformService
from infra.sandbox.database_server import DatabaseServer
from infra.sandbox.settings import HOST
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.postgresql_programs import find_programs

USER = DATABASE = "prefect"
# What is lost in a power cut is a fraction of a second of what the UI shows: the record that
# counts is the ledger's.
CONFIGURATION = """
max_connections = 60
shared_buffers = 64MB
synchronous_commit = off
"""
EXTENSION = "pg_trgm"  # Prefect's migrations create it


def usable_programs() -> Path | None:
    """Find PostgreSQL's programs with the extension that Prefect needs; None for SQLite."""
    try:
        programs = find_programs()
    except PreconditionFailed:
        return None
    folders = [*_told(programs / "pg_config"), *programs.parent.glob("share*")]
    found = any(list(folder.rglob(f"{EXTENSION}.control")) for folder in folders if folder.is_dir())
    return programs if found else None


def _told(program: Path) -> list[Path]:
    """Ask where shared files are; some packages of a server hold no program that tells."""
    if not program.is_file():
        return []
    shared = subprocess.run([program, "--sharedir"], capture_output=True, text=True, check=False)
    return [Path(shared.stdout.strip())] if shared.stdout.strip() else []


class PrefectDatabase(DatabaseServer):
    """The server in a folder of the home.

    Args:
        home: REMEDY_HOME.
        programs: Folder of PostgreSQL's programs.
        port: Its port.
        password: Password of the user `prefect`, who owns everything there.
    """

    def __init__(self, home: Path, programs: Path, port: int, password: str) -> None:
        """Keep where it is; starts nothing."""
        self.url = f"postgresql+asyncpg://{USER}:{password}@{HOST}:{port}/{DATABASE}"
        super().__init__(
            data=home / "platform" / "postgresql",
            programs=programs,
            port=port,
            user=USER,
            password=password,
            configuration=CONFIGURATION,
            service=partial(PlatformService, run=home / "run", logs=home / "logs"),
        )

    def start(self) -> None:
        """Make it where it is not there yet, start it unless it runs, and wait for its answer.

        Raises:
            PreconditionFailed: It does not come up.
        """
        self.make()
        super().start()
        with self.connect() as session:
            known = session.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
