"""The backups of a target: what each holds, and which is sound."""

import gzip
import io
import re
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, cast

import zstandard
from pydantic import BaseModel, ConfigDict, Field

from tasks.database.backup import archive
from tasks.database.backup.manifest import ROLES_SUFFIX, SUFFIX, Manifest, checksum, read_manifest
from tasks.database.backup.scan import Scan, scan
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Backups, Database, StoredBackup

Format = Literal["plain", "custom", "directory", "unknown"]
_NAME_TIME = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})[-_T]?(\d{2}):?(\d{2}):?(\d{2})")
_GZIP, _ZSTD, _CUSTOM = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PGDMP"
_NAMES = ("created", "roles", "owners", "defaulting", "extensions")


class Backup(BaseModel):
    """A backup as far as it was read.

    Args:
        name: Its name in the store.
        size: Bytes.
        format: How pg_dump wrote it.
        compression: 'gzip' or 'zstd' around a plain file, else ''.
        taken: When, UTC.
        taken_from: Where the time was read: 'manifest', 'archive', 'name', 'file'.
        database: Name of its database, '' where it does not say.
        server_version: Version of the server it came from.
        dump_version: Version of pg_dump.
        sha256: Checksum of what was read, '' before that.
        tables: Rows by 'schema.table'.
        created: Tables it creates.
        roles: Roles it names.
        owners: Roles to which it gives objects.
        public_owner: Whom it makes the owner of the schema public, '' where it does not.
        defaulting: Roles whose default rights it sets.
        extensions: Extensions it creates.
        settings: Settings of the session it makes.
        attached: What of it reaches outside the database.
        diagnostic: Entries of extensions for diagnosis, left out without a superuser.
        revision: Revision of the application's schema, '' where unknown.
        manifest: Whether a manifest vouches for it.
        problem: Why it is not sound; '' while nothing speaks against it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    format: Format
    compression: str = ""
    taken: datetime
    taken_from: str = "file"
    database: str = ""
    server_version: str = ""
    dump_version: str = ""
    sha256: str = ""
    tables: dict[str, int] = Field(default_factory=dict)
    created: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    public_owner: str = ""
    defaulting: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    settings: dict[str, str] = Field(default_factory=dict)
    attached: tuple[str, ...] = ()
    diagnostic: tuple[str, ...] = ()
    revision: str = ""
    manifest: bool = False
    problem: str = ""

    @property
    def server_major(self) -> int:
        """Major version of the server it came from, 0 where it does not say."""
        found = re.match("[0-9]+", self.server_version)  # 18beta1 as well
        return int(found[0]) if found else 0


def find_backups(store: Backups) -> list[StoredBackup]:
    """List what may be a backup, newest first, by the time in the name where there is one."""
    kept = [
        entry for entry in store.list() if not entry.name.endswith((SUFFIX, ROLES_SUFFIX, ".tmp"))
    ]
    return sorted(kept, key=lambda entry: time_of(entry)[0], reverse=True)


def read_backup(database: Database, store: Backups, entry: StoredBackup, table: str) -> Backup:
    """Read a backup to its end: what it holds, and whether it is whole.

    Args:
        database: Whose programs read archives.
        store: Where it lies.
        entry: Its entry in the store.
        table: Name of the table with the schema's revision.

    Returns:
        What it holds; `problem` says why it is not sound.
    """
    taken, taken_from = time_of(entry)
    bare = Backup(
        name=entry.name, size=entry.size, format="unknown", taken=taken, taken_from=taken_from
    )
    with ExitStack() as stack:
        path = stack.enter_context(store.local(entry.name))
        manifest = _manifest_of(store, entry.name)
        kind, compression = detect_format(path)
        stamp = archive.read_stamp(path) if kind in {"custom", "directory"} else {}
        bare = bare.model_copy(update={"format": kind, "compression": compression, **stamp})
        if kind == "unknown":
            return bare.model_copy(update={"problem": "it is neither plain SQL nor an archive"})
        sum_now = checksum(path)
        if manifest and manifest.sha256 != sum_now:
            problem = f"its checksum is {sum_now[:12]}…, the manifest says {manifest.sha256[:12]}…"
            return bare.model_copy(update={"problem": problem, "manifest": True})
        try:
            if kind == "plain":
                read = _read_plain(path, bare, table)
            else:
                read = _read_archive(database, path, bare, manifest, table)
        except (RemediationError, OSError, EOFError, zstandard.ZstdError) as error:
            found = error.found if isinstance(error, RemediationError) else str(error)
            by = f" (written by pg_dump {bare.dump_version})" if bare.dump_version else ""
            problem = f"it cannot be read to its end{by}: {found}"
            return bare.model_copy(update={"problem": problem})
    known: dict[str, object] = {"sha256": sum_now}
    if manifest:
        known |= {
            "manifest": True,
            "database": manifest.database,
            "tables": manifest.tables,
            "taken": manifest.started,
            "taken_from": "manifest",
            "revision": manifest.revision,
        }
    return read.model_copy(update=known)


def detect_format(path: Path) -> tuple[Format, str]:
    """Say how a backup is written, by its first bytes.

    Args:
        path: A file or folder.

    Returns:
        The format, and the compression around a plain file.
    """
    if path.is_dir():
        return ("directory" if (path / "toc.dat").is_file() else "unknown"), ""
    with path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(_CUSTOM):
        return "custom", ""
    compression = "gzip" if start.startswith(_GZIP) else "zstd" if start.startswith(_ZSTD) else ""
    try:
        with open_plain(path, compression) as plain:
            head = plain.read(4096)
    except (OSError, EOFError, zstandard.ZstdError):
        head = b""
    is_sql = bool(re.match(rb"\s*(--|\\restrict|SET|CREATE|BEGIN|/\*)", head))
    return ("plain" if is_sql else "unknown"), compression


def open_plain(path: Path, compression: str) -> IO[bytes]:
    """Open plain SQL for reading, unpacked as it is read."""
    if compression == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if compression == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), read_across_frames=True, closefd=True
        )
        return io.BufferedReader(cast("io.RawIOBase", reader), 1 << 20)
    return path.open("rb")


def _read_plain(path: Path, bare: Backup, table: str) -> Backup:
    with open_plain(path, bare.compression) as stream:
        seen = scan(stream, rows_of=table)
    update = _seen(seen)
    if seen.cluster:
        update["problem"] = "it is a dump of a whole cluster (pg_dumpall), not of a database"
    elif not seen.complete or seen.cut:
        update["problem"] = "it is cut off: 'PostgreSQL database dump complete' is missing"
    elif seen.refusals:
        line, reason = seen.refusals[0]
        more = f", and {len(seen.refusals) - 1} more" if len(seen.refusals) > 1 else ""
        update["problem"] = f"line {line} must not be run: {reason}{more}"
    update["revision"] = "".join(seen.sample[:1]).strip()
    return bare.model_copy(update=update)


def _read_archive(
    database: Database, path: Path, bare: Backup, manifest: Manifest | None, table: str
) -> Backup:
    head = archive.read_head(database, path)
    # A checksum that a manifest vouches for says the same as reading it all.
    seen = archive.scan_archive(database, path, data=manifest is None)
    update = _seen(seen)
    if seen.refusals:
        update["problem"] = f"it must not be run: {seen.refusals[0][1]}"
    revision = archive.read_table(database, path, table) if manifest is None else []
    update |= {
        "database": head.database,
        "taken": head.created,
        "taken_from": "archive",
        "server_version": head.server_version,
        "dump_version": head.dump_version,
        "attached": head.attached,
        "diagnostic": archive.find_diagnostic(head.entries),
        "revision": "".join(revision[:1]).strip(),
    }
    return bare.model_copy(update=update)


def _seen(seen: Scan) -> dict[str, object]:
    return {
        "server_version": seen.heads.get("server_version", ""),
        "dump_version": seen.heads.get("dump_version", ""),
        "tables": seen.tables,
        **{name: tuple(sorted(getattr(seen, name))) for name in _NAMES},
        "public_owner": seen.public_owner,
        "settings": seen.settings,
        "attached": tuple(seen.attached),
    }


def _manifest_of(store: Backups, name: str) -> Manifest | None:
    wanted = name + SUFFIX
    if not any(entry.name == wanted for entry in store.list()):
        return None
    with store.local(wanted) as path:
        return read_manifest(path)


def time_of(entry: StoredBackup) -> tuple[datetime, str]:
    """Say when a backup was taken, and by what: its name or its file."""
    if found := _NAME_TIME.search(entry.name):
        with suppress(ValueError):
            numbers = "".join(found.groups())
            return datetime.strptime(numbers, "%Y%m%d%H%M%S").replace(tzinfo=UTC), "name"
    return entry.modified.astimezone(UTC), "file"
