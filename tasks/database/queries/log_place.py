"""Where a server's log is, and reading what was added to it since a moment.

Source: PostgreSQL manual 20.8.1 (where to log), 9.28.9 (generic file access functions).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.printed_logs import PrintedLog
from tasks.platforms.protocols import Connection, Database

MOST_BYTES = 64_000_000
_CHUNK = 8_000_000
_FUNCTIONS = (
    "pg_current_logfile(text)",
    "pg_ls_logdir()",
    "pg_read_binary_file(text,bigint,bigint,boolean)",
)
Form = Literal["stderr", "csvlog", "jsonlog"]
_ENDINGS: dict[str, Form] = {".csv": "csvlog", ".json": "jsonlog"}


class LogPlace(BaseModel):
    """A place in a server's log.

    Args:
        by: How it is read: 'file' of this machine, by the 'server', or 'printed' and kept by
            whoever runs the server.
        path: The file, or what a person calls it.
        offset: Bytes that it had; of what is printed where it ended.
        form: How entries are written.
        prefix: log_line_prefix.
    """

    model_config = ConfigDict(frozen=True)

    by: Literal["file", "server", "printed"]
    path: str
    offset: int
    form: Form
    prefix: str


def find_place(database: Database, session: Connection) -> tuple[LogPlace | None, str]:
    """Find where the log is, and how far it goes now.

    Args:
        database: The database.
        session: A session in it.

    Returns:
        The place and '', or None and why the log cannot be read, with what to do.
    """
    row = session.execute(
        "SELECT current_setting('log_line_prefix') AS prefix, current_setting('logging_collector') "
        "= 'on' AS collects, current_setting('log_destination') AS goes_to"
    ).fetchone() or {"prefix": "", "collects": False, "goes_to": ""}
    file = database.log_file()
    if file is not None and not row["collects"] and "stderr" in row["goes_to"]:
        if os.access(file, os.R_OK):
            size = file.stat().st_size
            place = LogPlace(
                by="file", path=str(file), offset=size, form="stderr", prefix=row["prefix"]
            )
            return place, ""
        return None, f"{file}, which the target names as the server's log, cannot be read here"
    printed = database.printed_log()
    if printed is not None and not row["collects"] and "stderr" in row["goes_to"]:
        return _of_printed(printed, row["prefix"])
    if not row["collects"]:
        return None, (
            f"the server writes its log to {row['goes_to']} and collects it in no file "
            "(logging_collector is off), and the target names none; where it is a file of this "
            "machine, set `server_log` of the target"
        )
    return _of_collector(session, row["prefix"])


def _of_printed(log: PrintedLog, prefix: str) -> tuple[LogPlace | None, str]:
    try:
        offset = log.position()
    except PreconditionFailed as error:
        return None, f"{error.found} {error.todo}".removesuffix(".")
    place = LogPlace(by="printed", path=log.name, offset=offset, form="stderr", prefix=prefix)
    return place, ""


def _of_collector(session: Connection, prefix: str) -> tuple[LogPlace | None, str]:
    if missing := _missing_rights(session):
        return None, f"the maintenance user may not read it; as a superuser: {'; '.join(missing)}"
    for form in ("csvlog", "jsonlog", "stderr"):
        path = _current(session, form)
        if path:
            sizes = {name: size for name, size, _ in _listed(session)}
            offset = sizes.get(Path(path).name, 0)
            found = _ENDINGS.get(Path(path).suffix, "stderr")
            return LogPlace(by="server", path=path, offset=offset, form=found, prefix=prefix), ""
    return None, "the server says of no file that it logs to it now"


def _current(session: Connection, form: str) -> str:
    if form == "jsonlog" and session.info.server_version < 150000:  # noqa: PLR2004 - came with 15
        return ""
    row = session.execute("SELECT pg_current_logfile(%s) AS path", (form,)).fetchone()
    return str(row["path"] or "") if row else ""


def _missing_rights(session: Connection) -> list[str]:
    """Find the functions that the maintenance user may not call, as grants of them.

    pg_monitor may list files, and say which is the current one since PostgreSQL 16 only.
    """
    rows = session.execute(
        """SELECT f.name, current_user AS "user" FROM unnest(%s::text[]) AS f(name)
           WHERE NOT has_function_privilege(f.name, 'EXECUTE')""",
        (list(_FUNCTIONS),),
    ).fetchall()
    return [
        f"GRANT EXECUTE ON FUNCTION {row['name']} TO "
        f"{sql.Identifier(row['user']).as_string(session)}"
        for row in rows
    ]


def _listed(session: Connection) -> list[tuple[str, int, Any]]:
    rows = session.execute(
        "SELECT name, size, modification FROM pg_ls_logdir() ORDER BY modification, name"
    ).fetchall()
    return [(row["name"], int(row["size"]), row["modification"]) for row in rows]


def read_since(database: Database, place: LogPlace) -> str:
    """Read what was added to the log since a place, at most the last 64 MB of it.

    Args:
        database: The database.
        place: From where on.

    Raises:
        PreconditionFailed: It cannot be read any more.
    """
    printed = database.printed_log() if place.by == "printed" else None
    if printed is not None:
        return printed.read(place.offset, MOST_BYTES).decode(errors="replace")
    pieces = _of_file(Path(place.path), place.offset)
    if place.by == "server":
        pieces = _by_server(database, place)
    return b"".join(pieces).decode(errors="replace")


def free_for_log(database: Database, place: LogPlace | None) -> list[int | None]:
    """Measure the free bytes of each disk that becomes full where much is logged.

    Args:
        database: The database.
        place: Where the log is; where it is printed, that may be another disk than the data's.

    Returns:
        Bytes, None for a disk that cannot be measured.
    """
    free = [database.free_bytes()]
    if place is not None and place.by == "printed":
        printed = database.printed_log()
        free.append(printed.free_bytes() if printed else None)
    return free


def _of_file(path: Path, offset: int) -> Iterator[bytes]:
    try:
        size = path.stat().st_size
        start = offset if offset <= size else 0  # emptied since, by who rotates it
        with path.open("rb") as file:
            file.seek(max(start, size - MOST_BYTES))
            yield file.read(MOST_BYTES)
    except OSError as error:
        raise PreconditionFailed(
            expected=f"the server's log {path} to be read.",
            found=f"{error}.",
            todo="Let the user that remediations run as read it.",
        ) from error


def _by_server(database: Database, place: LogPlace) -> Iterator[bytes]:
    """Read the file and those that followed it, by the server."""
    folder, name = Path(place.path).parent, Path(place.path).name
    with database.connect() as session:
        listed = _listed(session)
        at = next((index for index, one in enumerate(listed) if one[0] == name), 0)
        files = [one for one in listed[at:] if Path(one[0]).suffix == Path(name).suffix]
        left = MOST_BYTES
        for file, size, _ in files:
            offset = place.offset if file == name and place.offset <= size else 0
            while offset < size and left > 0:
                length = min(_CHUNK, size - offset, left)
                row = session.execute(
                    "SELECT pg_read_binary_file(%s, %s, %s, true) AS piece",
                    (str(folder / file), offset, length),
                ).fetchone()
                piece = bytes(row["piece"] or b"") if row else b""
                if not piece:
                    break
                yield piece
                offset += len(piece)
                left -= len(piece)
