"""A line of fstab that is ours: put in under a comment with our id, and taken out again.

Sources: fstab(5), which has comments as whole lines alone; findmnt(8), `--verify`.
"""

from typing import ClassVar

from tasks.containers.file_edits import hash_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.hosts import Host

_VERIFY = (
    'set -eu; umask 077; file=$(mktemp); trap \'rm -f "$file"\' EXIT; cat > "$file"; '
    'findmnt --verify --tab-file "$file" 2>&1 | grep -E "\\[E\\]|parse error at" || true'
)


def file_of(host: Host) -> str:
    """Say where a machine's fstab is."""
    return f"{host.configuration}/fstab"


def line_of(path: str) -> str:
    """Write the line that has a swap file used from the start; a missing one stops no start."""
    return f"{path} none swap sw,nofail 0 0"


def block_of(remediation: str, path: str) -> str:
    """Write that line with the comment by which it is known."""
    return f"# remedy {remediation}: swap that add_swap has made\n{line_of(path)}\n"


def says(text: str, path: str) -> bool:
    """Say whether an entry is there for a swap file."""
    return any(line.split()[0] == path for line in text.splitlines() if line.strip())


def with_block(text: str, block: str) -> str:
    """Put a block at the end of a text."""
    return text + ("" if text.endswith("\n") or not text else "\n") + block


def without_block(text: str, block: str, before: str) -> str:
    """Take a block out of a text, and the end of line that had to come before it.

    Args:
        text: The text; others may have edited it since.
        block: What is taken out.
        before: sha256 of the text without it, as it was.
    """
    left = text.replace(block, "", 1)
    return left[:-1] if hash_of(left[:-1]) == before else left


def read(host: Host) -> str:
    """Read a machine's fstab.

    Raises:
        PreconditionFailed: There is none, or it is none that can be edited and put back.
    """
    file = file_of(host)
    text = host.read(file)
    if text is None:
        raise PreconditionFailed(
            expected=f"{file} on the machine, from which swap is used after its next start.",
            found="there is none.",
            todo="Make an empty one, or run again with `persist` off: swap until the next start.",
        )
    if hash_of(text) not in host.run(["sha256sum", file]).output:
        raise PreconditionFailed(
            expected=f"{file} in UTF-8 with the line ends of Unix.",
            found="other characters, which an edit would not keep.",
            todo="Correct it, or run again with `persist` off and add by hand what the note says.",
        )
    return text


def insist_it_is_read(host: Host, text: str) -> None:
    """Make sure that the machine's own program reads a new fstab as well as the present one.

    Raises:
        PreconditionFailed: It finds an error that was not there.
    """
    new = host.run(["sh", "-c", _VERIFY, "remedy"], given=text).output.splitlines()
    old = host.run(["sh", "-c", _VERIFY, "remedy"], given=read(host)).output.splitlines()
    if len(new) > len(old):
        raise PreconditionFailed(
            expected="an fstab that `findmnt --verify` accepts.",
            found=f"with our line it says: {new[-1].strip()}.",
            todo="Run again with `persist` off, and edit fstab by hand.",
        )


class SayInFstab(Change):
    """Say in fstab that a swap file is used from the machine's start.

    Args:
        file: fstab.
        path: The swap file.
        before: sha256 of fstab as it is.
    """

    kind: ClassVar[str] = "host.say_in_fstab"
    permissions: ClassVar[tuple[str, ...]] = ("host:files",)

    file: str
    path: str
    before: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"say in {self.file} that {self.path} is swap"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"file {self.file}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.file} does not name {self.path}", f"its last line: {line_of(self.path)}"

    def observe(self, work: Work) -> Observed:
        """Look for our line; whatever else is there may change."""
        text = read(targets.load(work.target).machine)
        if block_of(work.remediation, self.path) in text:
            return Observed(Standing.AFTER, f"{self.file} has our line")
        if says(text, self.path) or f"# remedy {work.remediation}:" in text:
            return Observed(Standing.OTHER, f"{self.file} has another line for {self.path}")
        return Observed(Standing.BEFORE, f"{self.file} does not name {self.path}")

    def apply(self, work: Work) -> None:
        """Write it with our line at its end, once that is verified."""
        host = targets.load(work.target).machine
        text = with_block(read(host), block_of(work.remediation, self.path))
        insist_it_is_read(host, text)
        host.write(self.file, text)

    def revert(self, work: Work) -> str:
        """Take our line out; what others have edited stays."""
        host = targets.load(work.target).machine
        text, block = read(host), block_of(work.remediation, self.path)
        if block not in text and says(text, self.path):
            raise PreconditionFailed(
                expected=f"our line in {self.file}, as it was written.",
                found=f"another one for {self.path}: somebody has edited it since.",
                state="It is as they left it.",
                todo=f"Take the line for {self.path} out by hand, and the comment above it; then "
                "try again.",
            )
        if block not in text:
            return f"{self.file} does not name {self.path}"
        left = without_block(text, block, self.before)
        host.write(self.file, left)
        same = hash_of(left) == self.before
        return f"{self.file} is as before" if same else f"{self.file}: only our lines went"
