"""The data folder of a PostgreSQL server on this machine, and who works in it.

Source: proc(5).
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.data_folder import FIRST_OF_USERS, pid_in, read_pid_file, what_is_in
from tasks.platforms.servers import Access, Folder, Holder, PidFile

_LOGS = {("log",), ("pg_log",)}
_ROOT = 0  # no server runs as root: PostgreSQL refuses to


def find_holders(data: Path) -> tuple[Holder, ...]:
    """List the processes that work in a data folder: a server's own do, all of them.

    Who has a file in it open counts as well, unless that is the server's log.

    Args:
        data: The data folder.

    Returns:
        Those that are seen; see `why_unseen`.
    """
    try:
        place = data.stat()
    except FileNotFoundError:
        return ()
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.NoSuchProcess):
            # By inode: a process in a container has another path to the same folder.
            cwd = Path(f"/proc/{process.pid}/cwd").stat()
            within = (cwd.st_dev, cwd.st_ino) == (place.st_dev, place.st_ino)
            if within or _has_open(process.pid, data.resolve()):
                stopped = process.status() == psutil.STATUS_STOPPED
                found.append(Holder(process.pid, process.name(), stopped))
    return tuple(found)


def _has_open(pid: int, data: Path) -> bool:
    if pid == os.getpid():
        return False
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            path = link.readlink()
            if path.is_relative_to(data) and path.relative_to(data).parts[:1] not in _LOGS:
                return True
    return False


def least_free(data: Path) -> int | None:
    """Measure what is free where a server writes: in its folder, and where pg_wal lies.

    Args:
        data: The data folder.

    Returns:
        Bytes; None where there is no folder.
    """
    places = [path for path in (data, data / "pg_wal") if path.exists()]
    return min((shutil.disk_usage(path).free for path in places), default=None)


def folder_at(data: Path) -> Folder:
    """Say what is in the place of a data folder."""
    if not data.is_dir():
        return Folder.MISSING
    return what_is_in(
        [path.name for path in data.iterdir()],
        has_control=(data / "global" / "pg_control").exists(),
        has_users=any(_of_users(data)),
    )


def _of_users(data: Path) -> Iterator[Path]:
    """Give what in a data folder was made after initdb."""
    for path in (*data.glob("base/*"), *data.glob("base/*/*")):
        number = path.name.partition(".")[0].partition("_")[0]
        if number.isdigit() and int(number) >= FIRST_OF_USERS:
            yield path
    yield from data.glob("pg_tblspc/*")


def access_of(path: Path) -> Access:
    """Say who may enter a folder, or read a file."""
    seen = path.stat()
    return Access(seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode))


def written_at(path: Path) -> float:
    """Say when a file was written last, as Unix time; 0 where there is none."""
    return path.stat().st_mtime if path.exists() else 0.0


def set_access(data: Path, access: Access) -> None:
    """Set who may enter a folder; what is in it stays as it is.

    Args:
        data: The folder.
        access: Owner, group and mode.

    Raises:
        PreconditionFailed: We may not.
    """
    try:
        now = access_of(data)
        if (now.user, now.group) != (access.user, access.group):
            os.chown(data, access.user, access.group)
        data.chmod(access.mode)
    except PermissionError as error:
        raise PreconditionFailed(
            expected=f"to give {data} to {access}.",
            found=f"user {os.geteuid()} may not.",
            todo="Run the worker as root, or set it by hand.",
        ) from error


def why_unseen(data: Path) -> str:
    """Say why a process that works in a folder may not be seen, '' where all are.

    Args:
        data: The data folder; a server on it runs as the owner of the folder and its files.
    """
    if not Path("/proc/self/cwd").exists():
        return "this system does not show in which folder a process works"
    version = data / "PG_VERSION"
    owners = {path.stat().st_uid for path in (data, version) if path.exists()}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            if process.uids().effective not in owners - {_ROOT}:
                continue
            try:
                Path(f"/proc/{process.pid}/cwd").stat()
            except PermissionError:  # also for root, in a container without SYS_PTRACE
                return f"user {os.geteuid()} does not see in which folder process {process.pid} is"
    return ""


def pid_file_in(data: Path) -> PidFile | None:
    """Read postmaster.pid; None where there is none."""
    try:
        text = (data / "postmaster.pid").read_text(errors="replace")
    except FileNotFoundError:
        return None
    pid, pid_is = pid_in(text), ""
    with suppress(psutil.Error, ValueError):
        pid_is = psutil.Process(pid).name() if pid else ""
    return read_pid_file(text, pid_is)


def insist_on_nobody(data: Path) -> None:
    """Make sure that no process works in a data folder.

    Raises:
        PreconditionFailed: One does, or that cannot be seen.
    """
    holders, unseen = find_holders(data), why_unseen(data)
    if holders or unseen:
        raise PreconditionFailed(
            expected=f"no process that works in {data}.",
            found=f"{holders[0] if holders else unseen}.",
            state="The folder and what is in it are as they were.",
            todo="End that process first, if it is not the server.",
        )


def set_aside(data: Path, name: str) -> None:
    """Give a data folder another name beside itself; gone already is fine.

    Args:
        data: The data folder.
        name: The other name.

    Raises:
        PreconditionFailed: A process works in it, or it is where a disk is mounted.
    """
    if not data.exists():
        return
    insist_on_nobody(data)
    if data.is_mount():
        raise PreconditionFailed(
            expected=f"a data folder {data} that can be given another name.",
            found="a disk is mounted there.",
            todo=f"Stop the server, move what is in {data} elsewhere by hand, then run again.",
        )
    data.rename(data.with_name(name))


def put_back(data: Path, name: str) -> None:
    """Give a folder that was set aside its name again, unless there is another by now.

    Args:
        data: The data folder.
        name: The name that it was given.

    Raises:
        PreconditionFailed: Something is in its place.
    """
    aside = data.with_name(name)
    if not aside.exists():
        return
    if data.exists() and any(data.iterdir()):
        raise PreconditionFailed(
            expected=f"nothing at {data}, to put {name} back there.",
            found="a folder that holds something.",
            state=f"{name} stays where it is.",
            todo="Look what each of them holds, and give them their names by hand.",
        )
    aside.rename(data)
