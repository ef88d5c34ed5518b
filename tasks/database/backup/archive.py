"""Archives of pg_dump (custom and directory format), read by pg_restore without a database."""

import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from tasks.database import programs
from tasks.database.backup.scan import Scan, scan
from tasks.platforms.protocols import Database

_HEAD = re.compile(r"^;\s+(?P<name>[A-Za-z_ ]+?)(?::| at) (?P<value>.+)$")
_ENTRY = re.compile(r"^(?P<id>\d+); \d+ \d+ (?P<text>.+)$")
# Only a superuser may create these, and no table or function of an application needs them.
DIAGNOSTIC = frozenset(
    {
        *("amcheck", "pageinspect", "pgstattuple", "pg_stat_statements", "pg_buffercache"),
        *("pg_freespacemap", "pg_prewarm", "pg_visibility", "pg_walinspect", "pg_wait_sampling"),
        *("adminpack", "old_snapshot"),  # PostgreSQL 17 has them no more
    }
)
_EXTENSION = re.compile(r"(?:COMMENT - )?EXTENSION (?:- )?(?P<name>\S+)")
_FUNCTION = re.compile(
    r"(?P<acl>ACL )?\S+ FUNCTION (?P<name>[^(]+)\(|FUNCTION \S+ (?P<own>[^(]+)\("
)
_TIME_FIELDS = 7  # seconds to years, and whether it is summer time
_LONGEST_TEXT = 1000
_ATTACHED = ("PUBLICATION TABLE", "PUBLICATION", "SUBSCRIPTION", "EVENT TRIGGER", "SERVER")


@dataclass(frozen=True)
class ArchiveHead:
    """What the head of an archive says.

    Args:
        database: Name of the database it was taken from.
        created: When, UTC.
        server_version: Version of the server it was taken from.
        dump_version: Version of the pg_dump that took it.
        entries: The lines of its table of contents.
        attached: Entries that reach outside the database, as 'PUBLICATION p'.
    """

    database: str
    created: datetime
    server_version: str
    dump_version: str
    entries: tuple[str, ...]
    attached: tuple[str, ...]


def read_stamp(path: Path) -> dict[str, str]:
    """Read the first bytes of an archive, which say whence it comes, also where pg_restore is old.

    Source: PostgreSQL 17, src/bin/pg_dump/pg_backup_archiver.c, WriteHead.

    Args:
        path: The archive, a file or a folder.

    Returns:
        'database', 'server_version' and 'dump_version'; nothing where they can't be read.
    """
    with (path / "toc.dat" if path.is_dir() else path).open("rb") as stream:
        try:
            _, major, minor, _, size, _, _ = struct.unpack("5s6B", stream.read(11))
            # One byte says how it is packed since format 1.15 (pg_dump 16).
            stream.read(1 if (major, minor) >= (1, 15) else 1 + size)
            stream.read(_TIME_FIELDS * (1 + size))
            database, server, dump = (_read_text(stream, size) for _ in range(3))
        except (struct.error, ValueError):
            return {}
    return {
        "database": database,
        "server_version": first_word(server),
        "dump_version": first_word(dump),
    }


def _read_text(stream: IO[bytes], size: int) -> str:
    negative, *number = stream.read(1 + size)
    length = 0 if negative else int.from_bytes(bytes(number), "little")
    return stream.read(min(length, _LONGEST_TEXT)).decode()


def first_word(version: str) -> str:
    """Give '17.10' of '17.10 (Debian 17.10-1)', '' of ''."""
    return version.partition(" ")[0]


def read_head(database: Database, path: Path) -> ArchiveHead:
    """Read the head and the table of contents of an archive.

    Args:
        database: Whose programs are used.
        path: The archive, a file or a folder.

    Returns:
        What the head says.

    Raises:
        PreconditionFailed: pg_restore cannot read it; its reason is in the error.
    """
    listing = programs.run(database, "pg_restore", ["--list", path], environment={"TZ": "UTC"})
    heads: dict[str, str] = {}
    entries: list[str] = []
    for line in listing.splitlines():
        if found := _HEAD.match(line):
            heads[found["name"].strip()] = found["value"].strip()
        elif _ENTRY.match(line):
            entries.append(line)
    texts = [cast("re.Match[str]", _ENTRY.match(entry))["text"] for entry in entries]
    return ArchiveHead(
        database=heads.get("dbname", ""),
        created=datetime.strptime(heads["Archive created"][:19], "%Y-%m-%d %H:%M:%S").replace(
            tzinfo=UTC
        ),
        server_version=first_word(heads.get("Dumped from database version", "")),
        dump_version=first_word(heads.get("Dumped by pg_dump version", "")),
        entries=tuple(entries),
        attached=tuple(text for text in texts if text.startswith(_ATTACHED)),
    )


def find_diagnostic(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Find the entries of extensions for diagnosis, with the rights granted on their functions.

    Args:
        entries: Lines of a table of contents.

    Returns:
        The lines that a load without a superuser leaves out.
    """
    texts = {entry: found["text"] for entry in entries if (found := _ENTRY.match(entry))}
    extensions = {
        entry
        for entry, text in texts.items()
        if (found := _EXTENSION.match(text)) and found["name"] in DIAGNOSTIC
    }
    if not extensions:
        return ()
    matches = {entry: _FUNCTION.match(text) for entry, text in texts.items()}
    own = {found["own"] for found in matches.values() if found and found["own"]}
    foreign = {
        entry
        for entry, found in matches.items()
        if found and found["acl"] and found["name"] not in own
    }
    return tuple(entry for entry in entries if entry in extensions | foreign)


def find_public_schema(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Find the entry by which the schema public gets its owner."""
    return tuple(
        entry
        for entry in entries
        if (found := _ENTRY.match(entry)) and found["text"].startswith("SCHEMA - public ")
    )


@contextmanager
def loading_list(
    database: Database, path: Path, leave_out: tuple[str, ...]
) -> Iterator[list[str | Path]]:
    """Give the arguments that make pg_restore leave entries out; none where there are none.

    Args:
        database: Whose programs are used.
        path: The archive.
        leave_out: Lines of its table of contents.

    Yields:
        Arguments of pg_restore.
    """
    if not leave_out:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", suffix=".list") as kept:
        wanted = [one for one in read_head(database, path).entries if one not in set(leave_out)]
        kept.write("\n".join(wanted) + "\n")
        kept.flush()
        yield [f"--use-list={kept.name}"]


def scan_archive(database: Database, path: Path, *, data: bool) -> Scan:
    """Scan the SQL that an archive stands for.

    Args:
        database: Whose programs are used.
        path: The archive.
        data: Whether to read the data as well, which finds damage and counts rows, and takes
            about a second for 200 MB.

    Returns:
        What the SQL would do.

    Raises:
        PreconditionFailed: pg_restore cannot read it to its end.
    """
    arguments: list[str | Path] = ["--file=-", *([] if data else ["--schema-only"]), path]
    with programs.running(database, "pg_restore", arguments, stdout=subprocess.PIPE) as process:
        return scan(cast("IO[bytes]", process.stdout))


def read_table(database: Database, path: Path, table: str) -> list[str]:
    """Read the rows of a small table out of an archive.

    Args:
        database: Whose programs are used.
        path: The archive.
        table: Name of the table without its schema.

    Returns:
        The rows as COPY writes them; none where it does not hold the table.
    """
    sql = programs.run(
        database, "pg_restore", ["--data-only", f"--table={table}", "--file=-", path]
    )
    found = re.search(r"^COPY .*?;\n(.*?)^\\\.$", sql, re.MULTILINE | re.DOTALL)
    return found[1].splitlines() if found else []
