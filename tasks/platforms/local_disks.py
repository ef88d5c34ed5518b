"""Disks of this machine: how full they are, and deleted files that are still open.

Source: statvfs(3), proc(5).
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.platforms.disks import DeletedFile, DeletedFiles, Place

_BLOCK = 512  # st_blocks counts these, whatever the file system's own are
_DELETED = " (deleted)"


def measure_place(what: str, path: Path) -> Place | str:
    """Measure the file system under a folder.

    Args:
        what: What lies there.
        path: The folder.

    Returns:
        How full it is, or a sentence why that cannot be said.
    """
    try:
        seen, device = os.statvfs(path), path.stat().st_dev
    except OSError as error:
        return f"{what}: {path} cannot be looked at from here ({error.strerror or error})."
    return Place(
        what=what,
        path=str(path),
        size=seen.f_blocks * seen.f_frsize,
        free=seen.f_bavail * seen.f_frsize,
        inodes=seen.f_files,
        inodes_free=seen.f_favail,
        device=device,
    )


def find_deleted_files(devices: Iterable[int]) -> DeletedFiles | None:
    """Find deleted files that processes of this machine still hold open.

    Args:
        devices: The file systems that are looked at.

    Returns:
        The largest first, each once; None where the system does not say (no /proc).
    """
    if not Path("/proc/self/fd").is_dir():
        return None
    wanted = set(devices)
    sizes: dict[tuple[int, int], tuple[str, int]] = {}
    holders: dict[tuple[int, int], set[str]] = {}
    unseen = 0
    for process in psutil.process_iter():
        try:
            opened = list(Path(f"/proc/{process.pid}/fd").iterdir())
        except PermissionError:
            unseen += 1
            continue
        except OSError:  # it has ended
            continue
        for one in opened:
            with suppress(OSError, psutil.Error):
                seen = one.stat()
                if seen.st_nlink == 0 and seen.st_dev in wanted and seen.st_blocks:
                    known = (seen.st_dev, seen.st_ino)
                    path = str(one.readlink()).removesuffix(_DELETED)
                    sizes[known] = (path, seen.st_blocks * _BLOCK)
                    holders.setdefault(known, set()).add(f"{process.name()} ({process.pid})")
    files = (
        DeletedFile(path, size, tuple(sorted(holders[known])))
        for known, (path, size) in sizes.items()
        if known in holders
    )
    return DeletedFiles(tuple(sorted(files, key=lambda one: (-one.size, one.path))), unseen)
