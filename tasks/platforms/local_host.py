"""This machine as the host of a target, or what a prefix before each command makes of it."""

from collections.abc import Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.local_commands import run_here

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What engines put into a container: there "this machine" is not the one that is meant.
_IN_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"))
_READ = 'if [ -e "$1" ]; then exec cat -- "$1"; else exit 3; fi'
_IS_MISSING = 3
# The new text lies beside the old one, with its owner and rights, and takes its place at once.
_WRITE = (
    'set -eu; path=$(readlink -f -- "$1"); new="$path.remedy"; rm -f -- "$new"; umask 022; '
    'if [ -e "$path" ]; then cp -p -- "$path" "$new"; fi; '
    'cat > "$new"; sync "$new"; mv -f -- "$new" "$path"; sync "${path%/*}"'
)


class LocalHost:
    """This machine.

    Args:
        prefix: What stands before each command, as `sudo -n` or `nsenter --net=...`.
        configuration: Folder of its configuration.
    """

    def __init__(self, prefix: Sequence[str] = (), configuration: Path = Path("/etc")) -> None:
        """Keep them.

        Raises:
            PreconditionFailed: We run in a container, and nothing leads out of it.
        """
        self.prefix, self.configuration = tuple(prefix), str(configuration)
        if not self.prefix and any(one.exists() for one in _IN_CONTAINER):
            raise PreconditionFailed(
                expected="a worker on the machine that the target runs on.",
                found="this one runs in a container: its files and rules are not the machine's.",
                todo="Run the worker on the machine itself, or set `host_command_prefix` of the "
                "target to what leads there, as `nsenter --target 1 --all`.",
            )

    def run(self, command: Sequence[str], given: str = "") -> Completed:
        """Run a command that ends with us, and wait for its end.

        Args:
            command: Program and arguments; no secret among them.
            given: What it reads from its standard input.

        Returns:
            How it ended; status 127 where there is no such program.
        """
        found = ["env", f"PATH={_PATH}", "LC_ALL=C", *command]
        return run_here([*self.prefix, *found], Path("/"), {"PATH": _PATH}, given=given)

    def act(self, doing: str, command: Sequence[str]) -> str:
        """Run a command that changes the machine, under our lease.

        Args:
            doing: What it does, as 'to swap to /swapfile', for whoever reads that it failed.
            command: Program and arguments; no secret among them.

        Returns:
            What it said.

        Raises:
            LeaseLost: The lease ran out; nothing was run.
            PreconditionFailed: It did not end well.
        """
        insist_on_fence()
        done = self.run(command)
        if done.status:
            raise _told(doing, done, "What it had done by then stands.")
        return done.output

    def read(self, path: str) -> str | None:
        """Read a text file; None where there is none.

        Args:
            path: Where, absolute.

        Raises:
            PreconditionFailed: It cannot be read.
        """
        done = self.run(["sh", "-c", _READ, "remedy", path])
        if done.status == _IS_MISSING:
            return None
        if done.status:
            raise _told(f"to read {path}", done, "Nothing was changed.")
        return done.output

    def write(self, path: str, text: str) -> None:
        """Write a text file whole or not at all; owner and rights of one that is there stay.

        Args:
            path: Where, absolute; a link is followed. A new file can be read by everybody.
            text: Its text.

        Raises:
            LeaseLost: The lease ran out; nothing was written.
            PreconditionFailed: It cannot be written; it is as it was.
        """
        insist_on_fence()
        done = self.run(["sh", "-c", _WRITE, "remedy", path], given=text)
        if done.status:
            raise _told(f"to write {path}", done, "It is whole: as it was.")


def _told(what: str, done: Completed, state: str) -> PreconditionFailed:
    said = " ".join(done.errors.split())[-300:].rstrip(".")
    return PreconditionFailed(
        expected=f"{what} on the machine.",
        found=f"{said or f'status {done.status}'}.",
        state=state,
        todo="Where a right is missing, run the worker as root or set `host_command_prefix` of "
        "the target to `sudo -n`; else mend what is named, and try again.",
    )
