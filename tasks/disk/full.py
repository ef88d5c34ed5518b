"""How full the disks are, and deleted files that are still open on them."""

from tasks.disk.sizes import megabytes
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import bar, counted
from tasks.platforms import targets
from tasks.platforms.disks import Place

_FULL = 0.9  # of bytes or of inodes
_SHOWN = 20


@probe
def measure_places(target: str) -> tuple[Finding, ...]:
    """Measure the file systems on which database, backups and engine keep their data.

    Args:
        target: Name of the target.

    Returns:
        Findings: how full they are, by bytes and by inodes.
    """
    places, unknown = targets.load(target).disks.places()
    full = [one for one in places if _taken(one) >= _FULL or _inodes(one) >= _FULL]
    said = [
        f"The disk of the {one.what} ({one.path}) is {_taken(one):.0%} full"
        + (f", {_inodes(one):.0%} of its inodes are taken." if one.inodes else ".")
        for one in full
    ]
    return (
        Finding(
            what=" ".join(said or ["No disk is full to nine tenths, by bytes or by inodes."]),
            how="statvfs of each folder; `df` inside of the container where it is elsewhere",
            columns=("data", "bytes taken", "free MB", "inodes taken", "folder"),
            rows=tuple(
                (
                    one.what,
                    bar(_taken(one)),
                    megabytes(one.free),
                    bar(_inodes(one)) if one.inodes else "no fixed number",
                    one.path,
                )
                for one in places
            ),
        ),
        *(Finding(what=one, how="the target's configuration") for one in unknown),
    )


def _taken(place: Place) -> float:
    return 1 - place.free / place.size if place.size else 0.0


def _inodes(place: Place) -> float:
    return 1 - place.inodes_free / place.inodes if place.inodes else 0.0


@probe
def find_deleted(target: str) -> tuple[Finding, int]:
    """Find deleted files that processes hold open: `df` counts them, `du` does not.

    Args:
        target: Name of the target.

    Returns:
        A finding, and the bytes that come free where their processes close them.
    """
    found = targets.load(target).disks.deleted_files()
    if found is None:
        return (
            Finding(
                what="Whether deleted files are held open is unknown: the machine is elsewhere.",
                how="run a worker on that machine, or there: lsof +L1",
            ),
            0,
        )
    size = sum(one.size for one in found.files)
    many = len(found.files)
    what = f"{counted(many, 'deleted file')} still open {'takes' if many == 1 else 'take'} "
    what += f"{megabytes(size)} MB."
    if found.unseen:
        what += f" {counted(found.unseen, 'process', 'processes')} could not be looked into: "
        what += "run the worker as root to see all."
    return (
        Finding(
            what=what,
            how="/proc/PID/fd: files without a name on the disks above",
            columns=("MB", "name that it had", "held by") if found.files else (),
            rows=tuple(
                (megabytes(one.size), one.path, ", ".join(one.holders[:3]))
                for one in found.files[:_SHOWN]
            ),
        ),
        size,
    )
