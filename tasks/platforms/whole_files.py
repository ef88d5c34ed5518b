"""Files that are written whole or not at all, with the owner and the rights that they had."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put other contents into a file: whoever is killed leaves the old ones or the new ones.

    Args:
        path: The file, which is there; of a symbolic link what it leads to.
        data: What shall be in it.

    Raises:
        OSError: It cannot be read or written; it is as it was.
    """
    path = path.resolve(strict=True)  # a link stays a link
    draft = path.with_name(f"{path.name}.new")
    owner = path.stat()
    draft.unlink(missing_ok=True)  # of one that was killed
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        os.fchown(number, owner.st_uid, owner.st_gid)
        os.fchmod(number, owner.st_mode & 0o7777)
        file.write(data)
        file.flush()
        os.fsync(number)
    draft.replace(path)
    write_through(path.parent)  # else a power cut may bring the old one back


def write_through(path: Path) -> None:
    """Have the disk hold what a file, or the names that a folder, has by now.

    Args:
        path: The file or folder.

    Raises:
        OSError: It cannot be opened, or the disk does not take it.
    """
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
