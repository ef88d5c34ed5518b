"""A target's backups in a folder of this machine."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tasks.guardrails.errors import BadInput, PreconditionFailed, Transient
from tasks.platforms.protocols import StoredBackup
from tasks.platforms.whole_files import write_through

_TRASH = ".trash"


class LocalBackups:
    """A folder of backups; what is in it under a name is whole.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        """Keep where it is; reads nothing."""
        self.folder = folder

    def list(self) -> list[StoredBackup]:
        """List everything in the store, newest first.

        Returns:
            Name, size and time of each; what is being stored is not there yet, and what has a
            name that is no UTF-8 is no backup: no plan could name it.

        Raises:
            PreconditionFailed: The folder cannot be read.
        """
        found: list[StoredBackup] = []
        try:
            entries = [entry for entry in self.folder.iterdir() if _is_named(entry.name)]
        except OSError as error:
            raise self._unreadable(error) from error
        for entry in entries:
            try:
                stat = entry.stat()
                size = _size(entry) if entry.is_dir() else stat.st_size
            except FileNotFoundError:
                continue  # removed meanwhile
            modified = datetime.fromtimestamp(stat.st_mtime, UTC)
            found.append(StoredBackup(entry.name, size, modified, entry.is_dir()))
        return sorted(found, key=lambda backup: (backup.modified, backup.name), reverse=True)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give a backup as a local path.

        Args:
            name: Its name in the store.

        Yields:
            Its path, to be read only.

        Raises:
            PreconditionFailed: There is none of that name.
        """
        path = self._path(name)
        if not path.exists():
            raise PreconditionFailed(
                expected=f"the backup {name} in {self.folder}.",
                found="none of that name.",
                todo="Choose one that the store lists.",
            )
        yield path

    def store(self, path: Path, name: str) -> None:
        """Put a local file or folder into the store under a name, whole or not at all.

        Args:
            path: What is to be stored; stays where it is.
            name: Its name in the store.

        Raises:
            PreconditionFailed: The name is taken, or there is no space.
        """
        goal = self._path(name)
        if goal.exists():
            raise PreconditionFailed(
                expected=f"the name {name} to be free in {self.folder}.",
                found="a backup of that name.",
                todo="Store it under another name.",
            )
        draft = self.folder / f".{name}.{uuid.uuid4().hex}.new"
        try:
            if path.is_dir():
                shutil.copytree(path, draft)
            else:
                shutil.copy2(path, draft)
            _flush(draft)
            draft.rename(goal)
            write_through(self.folder)
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            _remove(draft)

    def remove(self, name: str) -> None:
        """Remove a backup; missing is fine.

        Args:
            name: Its name in the store.
        """
        path = self._path(name)
        away = self.folder / f".{name}.{uuid.uuid4().hex}.old"
        try:
            path.rename(away)  # gone from the list at once, though removing may take a while
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreadable(error) from error
        _remove(away)

    def discard(self, name: str, box: str) -> None:
        """Move a backup into a box of the trash; one that is there already is fine.

        Args:
            name: Its name in the store.
            box: Name of the box.
        """
        self._move(self._path(name), self._box(box) / name)

    def bring_back(self, name: str, box: str) -> None:
        """Move a backup from a box of the trash back; one that is back already is fine.

        Args:
            name: Its name in the store.
            box: Name of the box.
        """
        self._move(self._box(box) / name, self._path(name))
        with suppress(OSError):  # others are in it
            self._box(box).rmdir()

    def discarded(self) -> dict[str, dict[str, int]]:
        """List the trash.

        Returns:
            The bytes of each backup by its name, by the name of its box.
        """
        trash = self.folder / _TRASH
        boxes = sorted(trash.iterdir()) if trash.is_dir() else []
        return {
            box.name: {
                one.name: _size(one) if one.is_dir() else one.lstat().st_size
                for one in sorted(box.iterdir())
            }
            for box in boxes
        }

    def destroy(self, box: str) -> None:
        """Remove a box of the trash for good; missing is fine.

        Args:
            box: Name of the box.
        """
        path = self._box(box)
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreadable(error) from error

    def _box(self, box: str) -> Path:
        return self.folder / _TRASH / self._path(box).name

    def _move(self, path: Path, goal: Path) -> None:
        if goal.exists() and not path.exists():
            return
        if goal.exists():
            raise PreconditionFailed(
                expected=f"{goal} to be free.",
                found="another file of that name.",
                state=f"{path.name} is where it was.",
                todo="Rename one of both, then run again.",
            )
        try:
            goal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.rename(goal)
            write_through(goal.parent)
            write_through(path.parent)
        except OSError as error:
            raise self._unreadable(error) from error

    def _path(self, name: str) -> Path:
        if not name or name.startswith(".") or Path(name).name != name:
            raise BadInput(
                expected="the name of a backup: no folder, no dot in front.",
                found=f"{name!r}.",
                todo="Choose one that the store lists.",
            )
        return self.folder / name

    def _unreadable(self, error: OSError) -> PreconditionFailed | Transient:
        return PreconditionFailed(
            expected=f"to read and write the store of backups {self.folder}.",
            found=f"{error.strerror or error}.",
            state="What was in the store is still there.",
            todo="Correct the folder, its rights or the free space, then run again.",
        )


def _is_named(name: str) -> bool:
    """Say whether a name is a backup's: text, and without a dot in front."""
    return not name.startswith(".") and not any("\ud800" <= one <= "\udfff" for one in name)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    if path.is_dir():
        for inner in path.rglob("*"):
            write_through(inner)
    write_through(path)
