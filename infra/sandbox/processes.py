"""Services as processes of their own: started once, found again, stopped only if they are ours."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.sandbox.launch import started
from tasks.guardrails.errors import PreconditionFailed

LAUNCHER = Path(__file__).with_name("launch.py")
KILLED_AFTER_SECONDS = 30.0
# What a service inherits from its starter; nothing of Prefect's or a test's.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Service:
    """A process of the sandbox.

    Args:
        name: Its name; also of its record and its log.
        command: Program, as an absolute path, and arguments.
        run: Folder of the records.
        logs: Folder of the logs.
        directory: Its working directory.
        environment: Its environment, laid over what every service inherits.
        user: Number of the user to run as; None for the starter's.
        stop_signal: What asks it to end.
    """

    name: str
    command: Sequence[str | Path]
    run: Path
    logs: Path
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def record(self) -> Path:
        """The file with pid and start time."""
        return self.run / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """The file with what it says."""
        return self.logs / f"{self.name}.log"

    def process(self) -> psutil.Process | None:
        """Find the process, if the one that was started still runs.

        Returns:
            The process with the recorded pid, if it began at the recorded time too: a pid may
            have been given to a stranger since.
        """
        try:
            pid, began = self.record.read_text().split()
            if started(int(pid)) != began:
                return None
            found = psutil.Process(int(pid))
            return None if found.status() == psutil.STATUS_ZOMBIE else found
        except (OSError, ValueError, psutil.Error):
            return None

    def start(self) -> bool:
        """Start the process in a session of its own, unless it runs.

        Returns:
            Whether it was started now.
        """
        if self.process() is not None:
            return False
        for folder in (self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        user = "" if self.user is None else str(self.user)
        launcher = [sys.executable, "-S", "-E", LAUNCHER, self.record, user, "--", *self.command]
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                launcher,
                cwd=self.directory,
                env={**inherited, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # It outlives us, so nothing waits for its end; while we live, it is reaped when it ends.
        _children[:] = [earlier for earlier in _children if earlier.poll() is None] + [child]
        while child.poll() is None and not self._recorded(child.pid):
            time.sleep(0.005)
        return True

    def _recorded(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return self.record.read_text().startswith(f"{pid} ")
        return False

    def stop(self, *, kill: bool = False) -> bool:
        """End the process and wait until it is gone.

        Args:
            kill: End it at once, as `kill -9` does.

        Returns:
            Whether there was one to end.
        """
        found = self.process()
        if found is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            found.send_signal(signal.SIGKILL if kill else self.stop_signal)
        if not gone(found, KILLED_AFTER_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.kill()
            gone(found, KILLED_AFTER_SECONDS)
        return True

    def tail(self, lines: int = 8) -> str:
        """Give the end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def failed(self, waited_for: str) -> PreconditionFailed:
        """Make the error that says it did not come up."""
        return PreconditionFailed(
            expected=f"the sandbox's {self.name} to {waited_for}.",
            found=f"it did not; its log ends: {self.tail()}",
            state="The sandbox's other services were left as they are.",
            todo=f"Read {self.log}, then start the sandbox again.",
        )


_children: list["subprocess.Popen[bytes]"] = []


def gone(process: psutil.Process, seconds: float) -> bool:
    """Wait until a process has ended; says whether it has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for child in _children:
            child.poll()  # a child of ours stays a zombie until somebody asks
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False
