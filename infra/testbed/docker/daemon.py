"""An engine of our own: dockerd started by hand, beside nothing else of this machine.

Source: dockerd's manual; data, sockets, pid file and configuration are its own, and it has no
bridge: every compose project brings its network.
"""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import ClassVar

import docker
import psutil
from docker.errors import DockerException

from infra.sandbox.processes import gone
from tasks.guardrails.errors import PreconditionFailed

UP_WITHIN_SECONDS = 180.0
DOWN_WITHIN_SECONDS = 60.0
# Then it hangs, and is stopped with all that others run on it: a busy one is not.
ANSWERS_WITHIN_SECONDS = 120
_LOG_TAIL = 2000


class Daemon:
    """dockerd with a folder for what it keeps, and one for what goes with it.

    Args:
        cache: Folder below which images and volumes are kept.
        within: Command that starts programs elsewhere, as `nsenter --net=FILE`.
        options: More options of dockerd.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("docker.io", "iproute2")

    def __init__(
        self, cache: Path, *, within: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        """Keep where it is; starts nothing."""
        self._within, self._options = within, options
        self.data = cache.resolve() / "docker"
        # Not below the cache: a socket's path has 107 bytes at the most.
        self.run = Path("/run") / f"remedy-{hashlib.sha256(bytes(self.data)).hexdigest()[:12]}"
        self._pid_file, self._log = self.run / "dockerd.pid", self.run / "dockerd.log"
        self.url = f"unix://{self.run / 'docker.sock'}"

    @staticmethod
    def is_installed() -> bool:
        """Say whether the program is there."""
        return shutil.which("dockerd") is not None

    def start(self) -> None:
        """Start it, unless it answers, and wait until it does.

        Raises:
            PreconditionFailed: It does not come up; says why by the end of its log.
        """
        if self._answers():
            return
        self.stop()  # one that hangs
        self.data.mkdir(mode=0o711, parents=True, exist_ok=True)
        configuration = self.run / "daemon.json"
        configuration.write_text("{}")  # the machine's own is for another engine
        with self._log.open("wb") as log:
            started = subprocess.Popen(
                [
                    *self._within,
                    "dockerd",
                    *("--config-file", configuration, "--pidfile", self._pid_file),
                    *("--data-root", self.data, "--exec-root", self.run / "exec"),
                    *("--host", self.url, "--bridge", "none"),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while not self._answers():
            if started.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise PreconditionFailed(
                    expected="dockerd to start.",
                    found=self._log.read_text(errors="replace")[-_LOG_TAIL:].strip(),
                    todo="Correct what it names, or set DOCKER_HOST to an engine that runs.",
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it with everything that runs on it; stopped already is fine.

        Raises:
            PreconditionFailed: It does not end.
        """
        with suppress(psutil.NoSuchProcess):
            if process := self._process():
                process.terminate()
                # Who has started it may be another process, which lives on and does not ask for it.
                if not gone(process, DOWN_WITHIN_SECONDS):
                    self.kill()

    def kill(self) -> None:
        """End it with SIGKILL; what runs on it goes on. Ended already is fine.

        Raises:
            PreconditionFailed: It does not end.
        """
        with suppress(psutil.NoSuchProcess):
            if process := self._process():
                process.kill()
                if not gone(process, DOWN_WITHIN_SECONDS):
                    raise PreconditionFailed(
                        expected=f"dockerd (process {process.pid}) to end by SIGKILL.",
                        found=f"it is there after {DOWN_WITHIN_SECONDS:.0f} s.",
                        state="No other engine was started on its data.",
                        todo="Look what the kernel has it wait for: /proc/PID/stack.",
                    )

    def _process(self) -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
            process = psutil.Process(int(self._pid_file.read_text()))
            if process.name() == "dockerd":  # else a stranger has the number by now
                return process
        return None

    def _answers(self) -> bool:
        if not (self.run / "docker.sock").exists():
            return False
        try:
            with closing(
                docker.DockerClient(base_url=self.url, timeout=ANSWERS_WITHIN_SECONDS)
            ) as client:
                return bool(client.ping())
        except (DockerException, OSError):  # requests' errors are OSErrors
            return False
