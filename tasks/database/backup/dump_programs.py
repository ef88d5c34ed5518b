"""What pg_dump and the server can do for a backup."""

import re
from pathlib import Path

from tasks.database import programs
from tasks.database.catalogue import elsewhere
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection, Database

_ZSTD_SINCE = 16


def choose_compression(database: Database) -> str:
    """Choose zstd where pg_dump has it (16 and newer, built with it), else gzip.

    Args:
        database: Whose pg_dump is used.

    Returns:
        'zstd' or 'gzip'.
    """
    version = programs.run(database, "pg_dump", ["--version"])
    found = re.search(r"\(PostgreSQL\) (\d+)", version)
    if found is None or int(found[1]) < _ZSTD_SINCE:
        return "gzip"
    try:
        programs.run(
            database,
            "pg_dump",
            # Without --no-sync it fails at /dev/null, which cannot be flushed to a disk.
            [
                *("--format=custom", "--compress=zstd", "--schema-only", "--no-sync"),
                "--file=/dev/null",
            ],
            on=elsewhere(database),
        )
    except RemediationError as error:
        if "zstd" not in error.found.lower():
            raise
        return "gzip"  # this pg_dump was built without it
    return "zstd"


def system_identifier(session: Connection) -> str:
    """Give the server's identity, '' where it may not be read."""
    try:
        row = session.execute(
            "SELECT system_identifier::text AS id FROM pg_control_system()"
        ).fetchone()
    except RemediationError:
        return ""
    return str(row["id"]) if row else ""


def dump_roles(database: Database, path: Path) -> str:
    """Write the role definitions without passwords; '' or why there are none."""
    arguments = ["--roles-only", "--no-role-passwords", f"--database={elsewhere(database)}"]
    try:
        with (
            path.open("wb") as out,
            programs.running(database, "pg_dumpall", arguments, on=elsewhere(database), stdout=out),
        ):
            pass
    except RemediationError as error:
        path.unlink(missing_ok=True)
        return f"; no roles beside it: {error.found}"
    return ""
