"""Whether a machine needs swap, how much, and what its containers may use of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.containers.file_edits import hash_of
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.host import fstab, swappiness
from tasks.host.memory_seen import MemorySeen, look_at_memory, mib
from tasks.host.swap_file import DiskHasRoom, EnableSwap, MakeSwapFile
from tasks.host.swap_place import Place, find_place, insist_on_machine
from tasks.platforms import targets
from tasks.platforms.hosts import Host
from tasks.platforms.memory import UNLIMITED, MemoryUse
from tasks.platforms.protocols import System

_MIB, _GIB = 2**20, 2**30
_MOST_PROPOSED = 4 * _GIB  # what the guide adds
_MOST_TIMES_MEMORY = 2
_STALLED_PERCENT = 1.0
_SCARCE = 4  # less than a quarter of all swap is free
_SHORT = 5  # less than a fifth of memory: what waits then waits for the machine's, mostly


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Args:
        path: The swap file.
        size: Its size, as '4G'; '' to propose one where it is needed.
        keep_free_percent: What shall stay free of the file system.
        persist: Whether the next start of the machine has it too.
        swappiness: How readily the kernel shall swap, -1 to leave that.
    """

    path: str
    size: str
    keep_free_percent: int
    persist: bool
    swappiness: int


@dataclass(frozen=True)
class Need:
    """What a machine needs.

    Args:
        findings: What was seen.
        changes: What adds swap; none where nothing is to do.
        size: How much, in bytes.
        room: What has to be free for it.
        free: What is free there now, in bytes.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...] = ()
    size: int = 0
    room: tuple[DiskHasRoom, ...] = ()
    free: int = 0
    notes: tuple[str, ...] = field(default=())


@probe
def find_swap_need(target: str, wanted: Wanted, remediation: str) -> Need:
    """Find whether a machine needs swap, and where it can lie.

    Args:
        target: Name of the target.
        wanted: What is asked for.
        remediation: Id of the remediation, for the names of what it makes.

    Returns:
        What was seen, and the changes.

    Raises:
        PreconditionFailed: The machine may not have swap there, or not so much.
    """
    system = targets.load(target)
    host = system.machine
    insist_on_machine(host)
    seen = look_at_memory(host)
    findings = (seen.finding(), _containers(system))
    if seen.named(wanted.path):
        already = f"The kernel swaps to {wanted.path} already: nothing is to do."
        return Need((*findings, Finding(what=already, how="/proc/swaps")))
    asked = _asked(wanted.size, seen) if wanted.size else proposed(seen)
    if not asked:
        enough = (
            "Nothing says that the machine needs more swap: it has some that is not full, and no "
            "process was killed for want of the machine's memory, or waits for it. Where a "
            "container is killed at its own limit: remedy run raise-memory-limit. To add swap all "
            "the same, say its `size`."
        )
        return Need((*findings, Finding(what=enough, how="what is above")))
    place = find_place(host, wanted.path, asked)
    keep = place.size * wanted.keep_free_percent // 100
    _insist_on_room(wanted.path, asked, keep, place)
    return Need(
        findings=findings,
        changes=tuple(_changes(host, wanted, asked, place, seen, remediation)),
        size=asked,
        room=(
            DiskHasRoom(
                path=wanted.path, at_least=asked + keep, unit="bytes", guards=MakeSwapFile.kind
            ),
        ),
        free=place.free,
        notes=tuple(_notes(wanted, place, seen)),
    )


def proposed(seen: MemorySeen) -> int:
    """Propose how much swap to add.

    Args:
        seen: The machine's memory.

    Returns:
        Bytes: as much as there is memory, at most the guide's 4 GiB; 0 where there is swap that
        is not scarce and nothing was killed for want of the machine's memory, or waits for it.
    """
    scarce = seen.swap_free * _SCARCE < seen.swap_total or not seen.swap_total
    short = seen.available * _SHORT < seen.total
    waits = short and bool(seen.stalled) and max(seen.stalled) >= _STALLED_PERCENT
    if not (scarce or waits or seen.machine_kills):
        return 0
    return min(_MOST_PROPOSED, seen.total // _MIB * _MIB)


def _asked(size: str, seen: MemorySeen) -> int:
    asked = int(size[:-1]) * (_GIB if size[-1] == "G" else _MIB)
    if not _MIB <= asked <= _MOST_TIMES_MEMORY * seen.total:
        raise PreconditionFailed(
            expected="1 MiB to twice the machine's memory: with more of it swapped out, the "
            "machine would be busy with nothing else.",
            found=f"{mib(asked)} asked for, {mib(seen.total)} of memory.",
            todo="Ask for less, or have less run on it, or give it more memory.",
        )
    return asked


def _insist_on_room(path: str, asked: int, keep: int, place: Place) -> None:
    if asked + keep > place.free:
        raise PreconditionFailed(
            expected=f"{mib(asked)} for {path}, and {mib(keep)} that stay free on {place.source}: "
            "a database that fills its disk stands still.",
            found=f"{mib(place.free)} free.",
            todo="Ask for less, choose a path on another disk, or make room: remedy run "
            "clean-up-docker, remedy run measure-disk.",
        )


def _changes(
    host: Host, wanted: Wanted, size: int, place: Place, seen: MemorySeen, remediation: str
) -> Iterator[Change]:
    if wanted.swappiness not in (-1, seen.swappiness):
        file = swappiness.file_for(host, remediation) if wanted.persist else ""
        if file:
            swappiness.insist_it_counts(host, file)
        yield swappiness.SetSwappiness(file=file, before=seen.swappiness, after=wanted.swappiness)
    yield MakeSwapFile(path=wanted.path, size=size, way=place.way)
    yield EnableSwap(path=wanted.path)
    if wanted.persist:
        text = fstab.read(host)
        if fstab.says(text, wanted.path):
            raise PreconditionFailed(
                expected=f"no entry for {wanted.path} in {fstab.file_of(host)}.",
                found="there is one already.",
                todo="Take it out, or choose another path.",
            )
        new = fstab.with_block(text, fstab.block_of(remediation, wanted.path))
        fstab.insist_it_is_read(host, new)
        yield fstab.SayInFstab(file=fstab.file_of(host), path=wanted.path, before=hash_of(text))


def _containers(system: System) -> Finding:
    """Show what containers may use of the machine's swap."""
    try:
        services = system.definition.read().services or {}
        found = [one for name in services for one in system.memory.use(name)]
    except (PreconditionFailed, Transient) as error:  # swap is needed where an engine is down, too
        return Finding(
            what=f"What limits of containers say of swap was not looked at: {error.found}",
            how="the target's platform",
        )
    return Finding(
        what="Swap is the machine's: what a container may use of it, its own limit says.",
        how="the engine's `inspect`",
        columns=("container", "limit", "swap"),
        rows=tuple(
            (one.container, mib(one.limit) if one.limit else "none", swap_of(one)) for one in found
        ),
    )


def swap_of(one: MemoryUse) -> str:
    """Say what a container's limits mean for swap.

    Args:
        one: Its memory.
    """
    if one.swap == UNLIMITED or not one.limit:
        return "as much as there is"
    if not one.swap:
        return "not counted by the kernel: as much as there is"
    if one.swap <= one.limit:
        return "none: it is killed at its limit as before (memswap_limit)"
    return f"{mib(one.swap - one.limit)} beyond its limit"


def _notes(wanted: Wanted, place: Place, seen: MemorySeen) -> Iterator[str]:
    yield (
        f"swap is a reserve, no memory: what is in use all the time must fit into {mib(seen.total)}"
    )
    yield (
        f"what is swapped out, secrets among it, lies on {place.source} as readable as the other "
        "files there, and stays in freed blocks after an undo: encrypt the disk where that matters"
    )
    if wanted.swappiness == -1:
        yield (
            f"vm.swappiness stays {seen.swappiness}; 10 keeps a database's pages in memory longer"
        )
    if not wanted.persist:
        yield f"the next start does not have it, unless fstab says: {fstab.line_of(wanted.path)}"
