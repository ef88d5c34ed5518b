"""A swap file: made whole under a name of its own, put into use, and taken out again."""

import uuid
from pathlib import PurePosixPath
from typing import ClassVar

from tasks.guardrails import faults
from tasks.guardrails.errors import Transient
from tasks.guardrails.plan import Change, Limit, Loss, Observed, Standing, Work
from tasks.host.memory_seen import look_at_memory, look_at_swaps, mib
from tasks.host.swap_place import measure_disk
from tasks.platforms import targets
from tasks.platforms.hosts import Host

_NAMESPACE = uuid.UUID("6a7ed0f5-2f52-4c0c-9a0e-7f4d2c1f5a90")
_OURS = 0o600
# Nobody but root reads it at any moment; zeros are written when nobody else needs the disk.
_TAKE = {
    "fallocate": 'set -eu; umask 077; fallocate -l "$2" "$1"; sync "$1"',
    "zeros": 'set -eu; umask 077; idle="nice -n 19"; '
    'if command -v ionice >/dev/null; then idle="$idle ionice -c 3"; fi; '
    '$idle dd if=/dev/zero of="$1" bs=1M iflag=count_bytes count="$2" conv=fsync status=none',
}


def uuid_of(remediation: str) -> str:
    """Give the UUID by which a remediation's swap is known."""
    return str(uuid.uuid5(_NAMESPACE, remediation))


class MakeSwapFile(Change):
    """Make a swap file, without holes, that root alone reads.

    Args:
        path: Where.
        size: Its size in bytes.
        way: How room is taken for it: 'fallocate' or 'zeros'.
    """

    kind: ClassVar[str] = "host.make_swap_file"
    permissions: ClassVar[tuple[str, ...]] = ("host:files",)

    path: str
    size: int
    way: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"make the swap file {self.path} of {mib(self.size)}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"file {self.path}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"no file {self.path}", f"{mib(self.size)} of swap space, for root alone (0600)"

    def draft(self, work: Work) -> str:
        """Name the file while it is made."""
        return f"{self.path}.{work.remediation}"

    def observe(self, work: Work) -> Observed:
        """Look for the file, by the UUID of this remediation in it, and for its draft."""
        host = targets.load(work.target).machine
        drafted = host.run(["stat", self.draft(work)]).status == 0
        seen = host.run(["stat", "-c", "%s %a %u %F", self.path])
        if seen.status:
            if drafted:
                return Observed(Standing.HALF, f"{self.path} is being made")
            return Observed(Standing.BEFORE, f"no {self.path}")
        size, mode, owner, kind = seen.output.strip().split(" ", 3)
        if kind != "regular file" or not self._is_ours(host, work):
            return Observed(Standing.OTHER, f"{self.path} is another file: {kind}")
        what = f"{self.path}: {mib(int(size))}, mode {mode}, owner {owner}"
        if (int(size), int(mode, 8), int(owner)) != (self.size, _OURS, 0):
            return Observed(Standing.OTHER, what)
        return Observed(Standing.HALF if drafted else Standing.AFTER, what)

    def _is_ours(self, host: Host, work: Work) -> bool:
        said = host.run(["swaplabel", self.path])
        return said.status == 0 and uuid_of(work.remediation) in said.output

    def apply(self, work: Work) -> str:
        """Make the draft whole, then give it the name that nobody has."""
        host, draft = targets.load(work.target).machine, self.draft(work)
        if not self._is_ours(host, work):
            host.act(f"to remove {draft}", ["rm", "-f", "--", draft])  # of one that was killed
            take = ["sh", "-c", _TAKE[self.way], "remedy", draft, str(self.size)]
            host.act(f"to take {mib(self.size)} of room for {draft}", take)
            faults.point(f"{self.kind}:room-taken")
            label = f"swap-{work.remediation}"[:15]  # as long as a label may be
            made = ["mkswap", "-L", label, "-U", uuid_of(work.remediation), draft]
            host.act(f"to make swap space of {draft}", made)
            host.act(f"to write {draft} to the disk", ["sync", draft])
            faults.point(f"{self.kind}:drafted")
            # Fails where somebody has taken the name meanwhile.
            host.act(f"to name it {self.path}", ["ln", "-T", "--", draft, self.path])
            faults.point(f"{self.kind}:named")
        host.act(f"to remove {draft}", ["rm", "-f", "--", draft])
        return f"room was taken by {self.way}"

    def revert(self, work: Work) -> str:
        """Remove it, and what was begun of it; a file of others stays."""
        host = targets.load(work.target).machine
        names = [self.draft(work), *([self.path] if self._is_ours(host, work) else [])]
        host.act(f"to remove {' and '.join(names)}", ["rm", "-f", "--", *names])
        return f"{self.path} is gone"


class EnableSwap(Change):
    """Have the kernel swap to a file.

    Args:
        path: The file.
    """

    kind: ClassVar[str] = "host.enable_swap"
    permissions: ClassVar[tuple[str, ...]] = ("host:swapon",)
    needs: tuple[str, ...] = (MakeSwapFile.kind,)

    path: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"swap to {self.path}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"swap {self.path}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"the kernel does not swap to {self.path}", "it does, after swap of higher priority"

    def observe(self, work: Work) -> Observed:
        """Ask the kernel where it swaps to."""
        swaps = look_at_swaps(targets.load(work.target).machine)
        seen = f"swap: {', '.join(one.path for one in swaps) or 'none'}"
        is_used = any(one.path == self.path for one in swaps)
        return Observed(Standing.AFTER if is_used else Standing.BEFORE, seen)

    def apply(self, work: Work) -> None:
        """Have it swap there."""
        host = targets.load(work.target).machine
        host.act(f"to swap to {self.path}", ["swapon", self.path])

    def revert(self, work: Work) -> str | None:
        """Have it swap there no more, where what lies there has room elsewhere."""
        host = targets.load(work.target).machine
        if self.observe(work).standing is Standing.BEFORE:
            return None
        if loss := self.undo_loss(work):
            raise Transient(
                expected=f"room for what is swapped out to {self.path}.",
                found=loss.sentence,
                state=f"The kernel swaps to {self.path} as before this undo.",
                todo="End what needs the memory, or add other swap, then try again.",
            )
        host.act(f"to swap to {self.path} no more", ["swapoff", self.path])
        return "what was swapped out there is in memory again"

    def undo_loss(self, work: Work) -> Loss | None:
        """Say that what lies in it fits nowhere else: processes would be killed."""
        seen = look_at_memory(targets.load(work.target).machine)
        swap = seen.named(self.path)
        if swap is None:
            return None
        elsewhere = seen.swap_free - (swap.size - swap.used)
        if swap.used + seen.reserve <= seen.available + elsewhere:
            return None
        return Loss(
            amount=swap.used,
            unit="bytes swapped out",
            sentence=f"{mib(swap.used)} are swapped out to {self.path}, {mib(seen.available)} of "
            f"memory are available and {mib(elsewhere)} of other swap are free: with "
            f"{mib(seen.reserve)} kept in reserve the kernel would kill processes.",
        )


class DiskHasRoom(Limit):
    """The file system has room for a swap file, and keeps what shall stay free.

    Args:
        path: The swap file.
    """

    kind: ClassVar[str] = "host.disk_has_room"

    path: str

    @property
    def title(self) -> str:
        """What is limited."""
        return f"room for {self.path}"

    def measure(self, work: Work) -> float:
        """Measure what is free, with what was taken for the file already."""
        host = targets.load(work.target).machine
        _, free = measure_disk(host, str(PurePosixPath(self.path).parent))
        taken = [self.path, f"{self.path}.{work.remediation}"]
        said = host.run(["stat", "-c", "%i %b %B", *taken]).output.splitlines()
        held = {inode: int(many) * int(of) for inode, many, of in map(str.split, said)}
        return float(free + sum(held.values()))
