"""The disks of the sandbox: all of this machine."""

from pathlib import Path

from tasks.platforms.disks import DeletedFiles, Place
from tasks.platforms.local_disks import find_deleted_files, measure_place


class LocalDisks:
    """The disks on which database and backups lie.

    Args:
        data: The database server's data folder, None where the target does not say.
        backups: Folder of the backups.
    """

    def __init__(self, data: Path | None, backups: Path) -> None:
        """Keep where they are; looks at nothing."""
        self._data, self._backups = data, backups

    def places(self) -> tuple[tuple[Place, ...], tuple[str, ...]]:
        """Measure where database and backups lie.

        Returns:
            The places, and a sentence for each that cannot be measured from here.
        """
        database = (
            "database: the target does not say where its data lies (`data_directory`)."
            if self._data is None
            else measure_place("database", self._data)
        )
        seen = (database, measure_place("backups", self._backups))
        return (
            tuple(one for one in seen if isinstance(one, Place)),
            tuple(one for one in seen if isinstance(one, str)),
        )

    def deleted_files(self) -> DeletedFiles | None:
        """Find deleted files that are still open; None where the system does not say."""
        found, _ = self.places()
        return find_deleted_files(one.device for one in found if one.device is not None)
