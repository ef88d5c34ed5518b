"""What pg_dump and the server can do for a backup."""

import contextlib
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
    with contextlib.suppress(RemediationError):
        programs.run(
            database,
            "pg_dump",
            ["--format=custom", "--compress=zstd", "--schema-only", "--file=/dev/null"],
            on=elsewhere(database),
        )
        return "zstd"
    return "gzip"


def system_identifier(session: Connection) -> str:
    """Give the server's identity, '' where it may not be read."""
    try:
        row = session.execute(
            "SELECT system_identifier::text AS id FROM pg_control_system()"
        ).fetchone()
    except RemediationError:
        return ""
    return str(row["id"]) if row else ""


def is_superuser(database: Database) -> bool:
    """Say whether the maintenance user is a superuser."""
    with database.connect(elsewhere(database)) as session:
        row = session.execute("SELECT current_setting('is_superuser') = 'on' AS is").fetchone()
    return bool(row and row["is"])


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
