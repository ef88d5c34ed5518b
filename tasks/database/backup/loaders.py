"""Backups loaded into an empty database by pg_restore and psql.

Fast by settings of the session only: fsync and full_page_writes guard every database of the
server.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tasks.database import programs
from tasks.database.backup.archive import find_public_schema, loading_list, read_head
from tasks.database.backup.backups import open_plain
from tasks.database.backup.plain_filter import PUBLIC_OWNER, knows_restrict, pump
from tasks.database.catalogue import complete_timeouts, elsewhere
from tasks.platforms.protocols import Database

_SETTINGS = {
    "maintenance_work_mem": "256MB",
    "synchronous_commit": "off",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "client_min_messages": "warning",
    "jit": "off",
}
_CHECK_INTERVAL_SINCE = 140000
_NOT_LOADED = ("--no-publications", "--no-subscriptions")


@dataclass(frozen=True)
class Load:
    """How a backup is loaded.

    Args:
        into: Name of the database.
        role: Role to load as, '' for the maintenance user itself.
        unknown: Settings at the head of its SQL that the server does not know; PUBLIC_OWNER.
        without: Entries of an archive that are left out.
        jobs: Parallel jobs for archives.
    """

    into: str
    role: str = ""
    unknown: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    jobs: int = 2


def load_archive(database: Database, path: Path, load: Load) -> None:
    """Load an archive: by pg_restore, or by psql what pg_restore makes of it.

    A pg_restore that is newer than the server sets what the server does not know (17 and newer:
    transaction_timeout), and ends by it.

    Args:
        database: The database under care.
        path: The archive, a file or a folder.
        load: How.

    Raises:
        PreconditionFailed: It cannot be loaded; the end of what the program said is in the error.
        Transient: The server went away.
    """
    without = load.without
    if PUBLIC_OWNER in load.unknown:
        without += find_public_schema(read_head(database, path).entries)
    with loading_list(database, path, without) as entries:
        if set(load.unknown) - {PUBLIC_OWNER}:
            arguments: list[str | Path] = ["--file=-", *_NOT_LOADED, *entries, path]
            with (
                programs.running(
                    database, "pg_restore", arguments, stdout=subprocess.PIPE
                ) as restore,
                _psql(database, load) as psql,
            ):
                _feed(database, cast("IO[bytes]", restore.stdout), psql, load)
            return
        arguments = [
            "--exit-on-error",
            *_NOT_LOADED,
            f"--jobs={min(load.jobs, os.cpu_count() or 1)}",
            programs.dbname(load.into),
            *entries,
            path,
        ]
        programs.run(
            database, "pg_restore", arguments, on=load.into, environment=_options(database, load)
        )


def load_plain(database: Database, path: Path, compression: str, load: Load) -> None:
    """Load plain SQL by psql.

    Args:
        database: The database under care.
        path: The file.
        compression: Around it: 'gzip', 'zstd' or ''.
        load: How.

    Raises:
        PreconditionFailed: It cannot be loaded; the end of what psql said is in the error.
        Transient: The server went away.
    """
    with open_plain(path, compression) as stream, _psql(database, load) as psql:
        _feed(database, stream, psql, load)


@contextmanager
def _psql(database: Database, load: Load) -> Iterator[IO[bytes]]:
    """Give the standard input of a psql that stops at the first error."""
    arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", "-"]
    with programs.running(
        database,
        "psql",
        arguments,
        on=load.into,
        environment=_options(database, load),
        stdin=subprocess.PIPE,
    ) as process:
        yield cast("IO[bytes]", process.stdin)


def _feed(database: Database, stream: IO[bytes], psql: IO[bytes], load: Load) -> None:
    restrict = knows_restrict(programs.run(database, "psql", ["--version"]))
    pump(stream, psql, load.unknown, restrict=restrict)


def _options(database: Database, load: Load) -> dict[str, str]:
    with database.connect(elsewhere(database)) as session:
        version = session.info.server_version
    return {"PGOPTIONS": loading_options(version, load.role)}


def loading_options(version: int, role: str = "") -> str:
    """Give PGOPTIONS for a load: quick, and with no more rights than it needs.

    Args:
        version: The server's version number.
        role: A role to load as, '' for the maintenance user itself.

    Returns:
        The value of PGOPTIONS.
    """
    settings = complete_timeouts(_SETTINGS, version)
    if version >= _CHECK_INTERVAL_SINCE:
        settings["client_connection_check_interval"] = "1s"
    if role:
        settings["role"] = role
    quoted = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in quoted.items())
