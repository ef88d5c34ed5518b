"""Room on the server's disk: what has to stay free, and what a copy will take."""

from typing import ClassVar

from tasks.guardrails.plan import Limit, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

# Bytes that stay free: a server without room for its log ends, and the live database with it.
DISK_RESERVE = 100_000_000
_SORT_SHARE = 0.3  # of the database, for building its indexes


class FreeDisk(Limit):
    """Bytes free where the server keeps its data; without a way to measure it counts as enough."""

    kind: ClassVar[str] = "database.free_disk"

    @property
    def title(self) -> str:
        """What is limited."""
        return "free bytes on the server's disk"

    def measure(self, work: Work) -> float:
        """Ask the file system."""
        free = targets.load(work.target).database.free_bytes()
        return float(self.at_least or 0) if free is None else float(free)


def tell_unmeasured(needed: int, free: int | None) -> tuple[str, ...]:
    """Say for a plan's notes that nobody here sees how much room the server's disk has.

    Args:
        needed: Bytes that have to be free, 0 where nothing is written.
        free: Bytes that are, None where unknown.

    Returns:
        A sentence; none where it is known.
    """
    if free is not None or not needed:
        return ()
    told = (
        "how much room the server's disk has cannot be measured from here, neither before nor "
        f"meanwhile: see yourself that {needed / 1e6:,.0f} MB are free. Where the server runs on "
        "this machine, give the target its data_directory: then it is measured"
    )
    return (told,)


def forecast_disk(session: Connection, size: int) -> int:
    """Forecast the bytes that a restored copy needs, with its WAL and the sorts of its indexes.

    Args:
        session: A session in any database of the server.
        size: Bytes that the copy will have.

    Returns:
        Bytes, with what has to stay free. WAL stays until a checkpoint (max_wal_size) unless it
        is archived or a replication slot holds it: then all of it counts.
    """
    row = (
        session.execute(
            """SELECT (SELECT setting::bigint * 1048576 FROM pg_settings
                       WHERE name = 'max_wal_size') AS wal,
                 current_setting('archive_mode') <> 'off' AS archived,
                 (SELECT count(*) FROM pg_replication_slots) AS slots"""
        ).fetchone()
        or {}
    )
    written = int(size * 1.3)
    wal = written if row["archived"] or row["slots"] else min(written, int(row["wal"] * 1.5))
    return int(size * (1 + _SORT_SHARE)) + wal + DISK_RESERVE
