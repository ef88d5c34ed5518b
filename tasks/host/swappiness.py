"""How readily a machine swaps: in its kernel now, and in a file of ours for its next start.

Source: sysctl.d(5); Linux, Documentation/admin-guide/sysctl/vm.rst.
"""

from pathlib import PurePosixPath
from typing import ClassVar

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.host.memory_seen import look_at_swappiness
from tasks.platforms import targets
from tasks.platforms.hosts import Host

# Folders are read as one, by the names of their files; the last one that says it counts.
_WHO_SAYS = (
    "grep -lsE '^[[:space:]]*-?vm[./]swappiness[[:space:]]*=' "
    '"$1"/sysctl.conf "$1"/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf'
)


def file_for(host: Host, remediation: str) -> str:
    """Name our file."""
    return f"{host.configuration}/sysctl.d/99-remedy-{remediation}.conf"


def insist_it_counts(host: Host, file: str) -> None:
    """Make sure that no other file says later what ours says.

    Raises:
        PreconditionFailed: One does, or there is no folder for ours.
    """
    others = host.run(["sh", "-c", _WHO_SAYS, "remedy", host.configuration]).output.split()
    name = PurePosixPath(file).name
    later = [
        one
        for one in others
        if PurePosixPath(one).name > name or one == f"{host.configuration}/sysctl.conf"
    ]
    if later:
        raise PreconditionFailed(
            expected=f"no file that says vm.swappiness after {file}.",
            found=f"{', '.join(later)}.",
            todo="Edit what is named, or leave `swappiness` out.",
        )
    if host.run(["test", "-d", str(PurePosixPath(file).parent)]).status:
        raise PreconditionFailed(
            expected=f"the folder {PurePosixPath(file).parent} on the machine.",
            found="there is none.",
            todo="Make it, or leave `swappiness` out.",
        )


class SetSwappiness(Change):
    """Set how readily the kernel swaps, now and from the next start on.

    Args:
        file: Our file under sysctl.d; '' to set it until the next start.
        before: What it is, 0 to 200.
        after: What it shall be.
    """

    kind: ClassVar[str] = "host.set_swappiness"
    permissions: ClassVar[tuple[str, ...]] = ("host:files", "host:sysctl")

    file: str
    before: int
    after: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"set vm.swappiness to {self.after}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("sysctl vm.swappiness", *([f"file {self.file}"] if self.file else []))

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        after = "from the next start on too" if self.file else "until the next start"
        return f"vm.swappiness is {self.before}", f"it is {self.after}, {after}"

    def _text(self, work: Work) -> str:
        return f"# remedy {work.remediation}: add_swap\nvm.swappiness = {self.after}\n"

    def observe(self, work: Work) -> Observed:
        """Compare what the kernel has, and our file."""
        host = targets.load(work.target).machine
        live, said = look_at_swappiness(host), host.read(self.file) if self.file else None
        seen = f"vm.swappiness is {live}"
        if self.file:
            seen += f", {self.file} is {'there' if said is not None else 'not there'}"
        wanted = self._text(work) if self.file else None
        if (live, said) == (self.after, wanted):
            return Observed(Standing.AFTER, seen)
        if (live, said) == (self.before, None):
            return Observed(Standing.BEFORE, seen)
        ours = live in (self.before, self.after) and said in (None, wanted)
        half = work.begun_at is not None and ours
        return Observed(Standing.HALF if half else Standing.OTHER, seen)

    def apply(self, work: Work) -> None:
        """Write our file, then have the kernel take it over."""
        host = targets.load(work.target).machine
        if self.file:
            host.write(self.file, self._text(work))
            faults.point(f"{self.kind}:written")
        _set(host, self.after)

    def revert(self, work: Work) -> None:
        """Give the kernel the old value, unless somebody set another; remove our file."""
        host = targets.load(work.target).machine
        if look_at_swappiness(host) == self.after:
            _set(host, self.before)
        if self.file:
            host.act(f"to remove {self.file}", ["rm", "-f", "--", self.file])


def _set(host: Host, value: int) -> None:
    host.act(f"to set vm.swappiness to {value}", ["sysctl", "-q", "-w", f"vm.swappiness={value}"])
