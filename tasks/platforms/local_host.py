"""This machine as the host of a target, or what a prefix before each command makes of it."""

from collections.abc import Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.applications import Completed
from tasks.platforms.local_commands import run_here

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What engines put into a container: there "this machine" is not the one that is meant.
_IN_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"))


class LocalHost:
    """This machine.

    Args:
        prefix: What stands before each command, as `sudo -n` or `nsenter --net=...`.
    """

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        """Keep the prefix.

        Raises:
            PreconditionFailed: We run in a container, and nothing leads out of it.
        """
        self.prefix = tuple(prefix)
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
