"""The manifest beside a backup: what restore trusts of it."""

import hashlib
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SUFFIX = ".manifest.json"
ROLES_SUFFIX = ".roles.sql"


class Manifest(BaseModel):
    """What was known of a backup when it was taken and verified; stored last, atomically.

    Args:
        backup: Name of the backup in the store.
        sha256: Checksum of the file.
        bytes: Its size.
        format: 'custom'.
        compression: 'zstd' or 'gzip'.
        system_identifier: The server's identity; '' where it may not be read.
        database: Name of the database.
        database_oid: Its OID.
        server_version: Version of the server.
        dump_version: Version of pg_dump.
        revision: Revision of the application's schema, '' where there is none.
        tables: Rows by 'schema.table', counted in the dump's own snapshot.
        database_bytes: Size of the database.
        started: When it was begun, UTC; the snapshot is from then.
        finished: When it was verified, UTC.
        remediation: Id of the run that took it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    backup: str
    sha256: str
    bytes: int
    format: str
    compression: str
    system_identifier: str
    database: str
    database_oid: int
    server_version: str
    dump_version: str
    revision: str = ""
    tables: dict[str, int] = Field(default_factory=dict)
    database_bytes: int = 0
    started: datetime
    finished: datetime
    remediation: str = ""


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None where it is not one."""
    try:
        return Manifest.model_validate_json(path.read_text())
    except (ValidationError, OSError, UnicodeDecodeError):
        return None


def checksum(path: Path) -> str:
    """Give the sha256 of a file, or of a folder's names and contents."""
    if path.is_dir():
        whole = hashlib.sha256()
        for part in sorted(path.rglob("*")):
            if part.is_file():
                whole.update(f"{part.relative_to(path)}\0{checksum(part)}\n".encode())
        return whole.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
