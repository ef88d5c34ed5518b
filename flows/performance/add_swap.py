"""Give a machine swap to fall back on when its memory runs out."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.host.memory_seen import mib
from tasks.host.swap_checks import NextStartHasSwap, SwapIsUsable
from tasks.host.swap_need import Wanted, find_swap_need
from tasks.platforms.targets import TargetName


@remediation(guide="Performance Issues / High Memory Usage / Add Swap Space")
def add_swap(
    target: TargetName,
    path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]{1,100}){1,12}$")] = "/swapfile",
    size: Annotated[str, Field(pattern=r"^([1-9]\d{0,5}[MG])?$")] = "",
    keep_free_percent: Annotated[int, Field(ge=1, le=90)] = 10,
    swappiness: Annotated[int, Field(ge=-1, le=100)] = -1,
    persist: bool = True,
) -> Plan:
    """Add a swap file to the machine that the target runs on.

    What memory there is, how long processes wait for it, and what the kernel has killed come
    first, with the swap that each container may use. The file lies on ext4, ext3, ext2 or xfs,
    without holes, where nobody but root can read or replace it; another file system is refused
    with the reason. It gets its name once it is whole, is in use from then on, and in fstab. The
    guide's commands make it with the rights of everybody for a moment, and forget it at the next
    start. To prove it, memory of our own is swapped out and read back.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        path: The swap file; nothing is overwritten.
        size: Its size, as 512M or 4G; empty to propose one, at most 4G, where memory is short or
            there is no swap.
        keep_free_percent: What stays free of the file system, in percent.
        swappiness: How readily the kernel swaps, from 0 to 100; -1 to leave that as it is.
        persist: Whether the machine's next start has it too, by fstab and sysctl.d.

    Changes:
        A swap file, in use; a line of fstab. With `swappiness` the kernel's, and a file of
        sysctl.d.

    Undo:
        Our lines go from fstab, the kernel swaps there no more, the file is removed. Where what is
        swapped out has no room in memory, it is said, and a person decides.
    """
    wanted = Wanted(path, size, keep_free_percent, persist, swappiness)
    need = find_swap_need(target, wanted, remediation_id())
    if not need.changes:
        return Plan(
            name="add",
            title="Report the machine's memory and swap",
            risk=Risk.HARMLESS,
            findings=need.findings,
        )
    kept = (NextStartHasSwap(path=path),) if persist else ()
    return Plan(
        name="add",
        title=f"Add {mib(need.size)} of swap to the machine of {target}",
        risk=Risk.DISRUPTIVE,
        findings=need.findings,
        changes=need.changes,
        checks=(SwapIsUsable(path=path, size=need.size), *kept, ApplicationAnswers()),
        limits=need.room,
        watches=(ApplicationServes(),),
        effects=Effects(disk_needed=need.size, disk_free=need.free),
        notes=(*need.notes, *find_unproved(target)),
    )
