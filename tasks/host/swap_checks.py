"""Whether swap works: the kernel uses it, pages go there and come back, the next start has it."""

import sys
from typing import ClassVar

from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.host.fstab import file_of
from tasks.host.memory_seen import look_at_swaps, mib, swaps_in
from tasks.platforms import targets
from tasks.platforms.hosts import Host

_HEADER = 65_536  # the first page is not swapped to: as large as a page may be
# Has the kernel swap a megabyte of random bytes out (MADV_PAGEOUT, Linux 5.4), and reads it back.
_PAGE_OUT = """
import mmap, os, re
held = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
data = os.urandom(1 << 20)
held[:] = data
held.madvise(21)
gone = re.search(r'^Swap: +(\\d+)', open('/proc/self/smaps_rollup').read(), re.M)[1]
swaps = open('/proc/swaps').read()
print(gone, 'same' if held[:] == data else 'differs')
print(swaps, end='')
"""


class SwapIsUsable(Check):
    """The kernel swaps to a file, and gets back what it wrote.

    Args:
        path: The file.
        size: Its size in bytes.
    """

    kind: ClassVar[str] = "host.swap_is_usable"

    path: str
    size: int

    @property
    def title(self) -> str:
        """The claim."""
        return f"memory is swapped out to {self.path} and read back"

    def ask(self, work: Work) -> Answer:
        """Ask the kernel, and have it swap something of our own."""
        host = targets.load(work.target).machine
        found = [one for one in look_at_swaps(host) if one.path == self.path]
        if not found:
            return Answer(Verdict.NOT_HELD, f"the kernel does not swap to {self.path}")
        mode = host.run(["stat", "-c", "%a %u", self.path]).output.strip()
        if mode != "600 0":
            return Answer(Verdict.NOT_HELD, f"others than root can read it: mode and owner {mode}")
        seen = f"{self.path}: {mib(found[0].size)} in use as swap, mode 0600"
        if not 0 <= self.size - found[0].size <= _HEADER:
            return Answer(Verdict.NOT_HELD, f"{seen}; it should be {mib(self.size)}")
        is_same, tried = self._swap_out(host)
        return Answer(Verdict.HELD if is_same else Verdict.NOT_HELD, f"{seen}; {tried}")

    def _swap_out(self, host: Host) -> tuple[bool, str]:
        for program in ("python3", sys.executable):
            done = host.run([program, "-c", _PAGE_OUT])
            if done.status == 0:
                break
        else:
            return True, "swapping out was not tried: no Python there that can ask for it"
        said, _, swaps = done.output.partition("\n")
        gone, verdict = said.split()
        if verdict != "same":
            return False, f"of {gone} KiB that were swapped out, others came back"
        (ours,) = (one.used for one in swaps_in(swaps) if one.path == self.path)
        return True, (
            f"{gone} KiB of ours were swapped out and read back unchanged; {ours / 1024:.0f} KiB "
            "lay in it meanwhile"
        )


class NextStartHasSwap(Check):
    """The machine's own program finds the swap file in fstab.

    Args:
        path: The file.
    """

    kind: ClassVar[str] = "host.next_start_has_swap"

    path: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"fstab has {self.path} used from the next start on"

    def ask(self, work: Work) -> Answer:
        """Have fstab read as it is when the machine starts."""
        host = targets.load(work.target).machine
        asked = ("findmnt", "-nr", "--tab-file", file_of(host), "-t", "swap", "-o", "SOURCE")
        found = host.run(asked).output.split()
        if self.path in found:
            return Answer(Verdict.HELD, f"findmnt reads swap: {', '.join(found)}")
        return Answer(Verdict.NOT_HELD, f"findmnt reads swap: {', '.join(found) or 'none'}")
