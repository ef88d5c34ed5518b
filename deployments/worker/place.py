"""Where a run's process is: kept by Prefect with the run, so that any worker finds it again."""

import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from typing import Self

import anyio
import psutil

from tasks.guardrails.holders import is_at_work, started

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Place:
    """A process on a host, by pid and start: a pid may be given to a stranger later."""

    host: str
    pid: int
    began: str

    def __str__(self) -> str:
        """Write it as Prefect keeps it."""
        return f"{self.host}:{self.pid}:{self.began}"

    @classmethod
    def of(cls, pid: int) -> Self:
        """Give the place of a process of this host."""
        return cls(socket.gethostname(), pid, started(pid))

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read what `str` wrote; None for anything else."""
        host, _, rest = (text or "").partition(":")
        pid, _, began = rest.partition(":")
        return cls(host, int(pid), began) if host and pid.isdecimal() and began else None

    @property
    def is_here(self) -> bool:
        """Whether it is on this host."""
        return self.host == socket.gethostname()

    def process(self) -> psutil.Process | None:
        """Find the process, if it still runs on this host."""
        try:
            found = psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None
        same = self.is_here and started(self.pid) == self.began
        return found if same and is_at_work(found) else None

    def memory(self) -> int:
        """Give the resident bytes of the process and its subprocesses."""
        process = self.process()
        if process is None:
            return 0
        total = 0
        for one in (process, *_children(process)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
        return total

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self.process() is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, grace_seconds: float) -> None:
        """Ask the process to end, and kill it with its subprocesses if it does not.

        Args:
            grace_seconds: How long it may take.
        """
        self.send(signal.SIGTERM)
        with anyio.move_on_after(grace_seconds):
            await self.gone()
        self.kill()

    async def gone(self) -> None:
        """Wait until the process has ended."""
        while self.process() is not None:  # noqa: ASYNC110 - it may be the child of another process
            await anyio.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End the process with its subprocesses."""
        process = self.process()
        family = [process, *_children(process)] if process else []
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.kill_group()

    def kill_group(self) -> None:
        """End what the process left behind in its group.

        While the group has a member its number is given to nobody: a process with the number
        and another start says that ours is empty, and that the group is a stranger's.
        """
        if not self.is_here or started(self.pid) not in {self.began, ""}:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
