"""The memory of a machine as its kernel shows it: what is free, stalls, kills and swap.

Source: proc(5); Linux, Documentation/accounting/psi.rst.
"""

import re
from dataclasses import dataclass

from tasks.guardrails.plan import Finding
from tasks.platforms.hosts import Host

_MIB = 2**20
_KIB = 1024
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the kernel writes blanks in a path


@dataclass(frozen=True)
class Swap:
    """Swap that is in use, in bytes.

    Args:
        path: Its file or device.
        kind: 'file' or 'partition'.
        size: Its size, without its first page.
        used: What lies in it.
    """

    path: str
    kind: str
    size: int
    used: int


@dataclass(frozen=True)
class MemorySeen:
    """A machine's memory, in bytes.

    Args:
        total: All of it.
        available: What may still be used without swapping.
        swap_free: What is free of all swap.
        swaps: Each swap.
        stalled: Shares of the last 10, 60 and 300 s in which something waited for memory, in
            percent; empty where the kernel does not say.
        kills: Processes that the kernel has killed for want of memory since it started, those in
            containers at their own limit among them; None where it does not say.
        machine_kills: Those that its log still tells of for want of the machine's own memory; None
            where that cannot be read.
        swappiness: How readily it swaps.
    """

    total: int
    available: int
    swap_free: int
    swaps: tuple[Swap, ...]
    stalled: tuple[float, ...]
    kills: int | None
    machine_kills: int | None
    swappiness: int

    @property
    def swap_total(self) -> int:
        """All swap."""
        return sum(one.size for one in self.swaps)

    @property
    def reserve(self) -> int:
        """What has to stay available where swap is taken away, so that nothing is killed."""
        return max(64 * _MIB, self.total // 20)

    def named(self, path: str) -> Swap | None:
        """Give the swap at a path; None where none is in use there."""
        return next((one for one in self.swaps if one.path == path), None)

    def finding(self) -> Finding:
        """Show it."""
        stalled = (
            f"processes waited for memory in {self.stalled[-1]:.1f} % of the last five minutes"
            if self.stalled
            else "the kernel does not say how long processes wait for memory"
        )
        killed = "an unknown number of" if self.kills is None else str(self.kills)
        of_those = "an unknown number" if self.machine_kills is None else str(self.machine_kills)
        return Finding(
            what=f"The machine has {mib(self.total)} of memory, {mib(self.available)} available, "
            f"and {mib(self.swap_total)} of swap, {mib(self.swap_free)} free; {stalled}; "
            f"{killed} processes were killed for want of memory since it started, in containers at "
            f"their own limit too, {of_those} of them for want of the machine's by the kernel's "
            f"log; vm.swappiness is {self.swappiness}.",
            how="/proc/meminfo, /proc/pressure/memory, /proc/vmstat, /proc/swaps, dmesg",
            columns=("swap", "kind", "size", "in use"),
            rows=tuple((one.path, one.kind, mib(one.size), mib(one.used)) for one in self.swaps),
        )


def mib(amount: int) -> str:
    """Write an amount of memory in MiB."""
    return f"{amount / _MIB:,.0f} MiB"


def swaps_in(text: str) -> tuple[Swap, ...]:
    """Read /proc/swaps.

    Args:
        text: What it says.
    """
    found = []
    for line in text.splitlines()[1:]:
        path, kind, size, used, _priority = line.rsplit(maxsplit=4)
        path = _OCTAL.sub(lambda one: chr(int(one[1], 8)), path.strip())
        found.append(Swap(path, kind, int(size) * _KIB, int(used) * _KIB))
    return tuple(found)


def machine_kills_in(log: str) -> int:
    """Count the kills for want of the machine's memory in the kernel's log.

    Args:
        log: What `dmesg` says; a container at its own limit is CONSTRAINT_MEMCG there.
    """
    return len(re.findall(r"oom-kill:constraint=(?!CONSTRAINT_MEMCG)", log))


def look_at_swaps(host: Host) -> tuple[Swap, ...]:
    """Look at the swap that is in use on a machine."""
    return swaps_in(host.read("/proc/swaps") or "")


def look_at_memory(host: Host) -> MemorySeen:
    """Look at a machine's memory.

    Args:
        host: The machine.

    Raises:
        PreconditionFailed: It cannot be read.
    """
    known = dict(re.findall(r"^(\w+):\s+(\d+)", host.read("/proc/meminfo") or "", re.MULTILINE))
    some = re.search(
        r"^some avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+)",
        host.read("/proc/pressure/memory") or "",
        re.MULTILINE,
    )
    log = host.run(["dmesg"])
    kills = re.search(r"^oom_kill (\d+)", host.read("/proc/vmstat") or "", re.MULTILINE)
    return MemorySeen(
        total=int(known["MemTotal"]) * _KIB,
        available=int(known["MemAvailable"]) * _KIB,
        swap_free=int(known["SwapFree"]) * _KIB,
        swaps=look_at_swaps(host),
        stalled=tuple(map(float, some.groups())) if some else (),
        kills=int(kills[1]) if kills else None,
        machine_kills=None if log.status else machine_kills_in(log.output),
        swappiness=look_at_swappiness(host),
    )


def look_at_swappiness(host: Host) -> int:
    """Say how readily a machine's kernel swaps."""
    return int(host.read("/proc/sys/vm/swappiness") or "-1")
