"""The application as local processes behind a proxy that can hold requests back."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Completed

PATIENCE_SECONDS = 2.0
# What a command inherits from us; nothing of Prefect's or of the ledger's.
INHERITED = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
# The command ends when we do (prctl PR_SET_PDEATHSIG, SIGKILL): whoever takes over the lease
# must not meet it. Set before exec, so that no thread of ours is copied to do it.
DIE_WITH_PARENT = (
    "import ctypes,os,sys\n"
    "if sys.platform=='linux':\n"
    " ctypes.CDLL(None).prctl(1,9)\n"
    " if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "try: os.execvpe(sys.argv[2],sys.argv[2:],os.environ)\n"
    "except OSError as e: sys.exit('%s: %s'%(sys.argv[2],e.strerror))\n"
)


class LocalApplication:
    """The web application, as processes of this machine.

    Args:
        url: Where users reach it: the proxy.
        control_url: The proxy's control API.
        directory: Its working directory, with alembic.ini.
        programs: Folder of its programs (python, alembic).
        environment: Its settings, secrets among them.
    """

    def __init__(
        self,
        url: str,
        control_url: str,
        directory: Path,
        programs: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Keep where it is; asks nothing."""
        self.url, self._control = url, control_url
        self._directory, self._programs, self._environment = directory, programs, environment

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Completed:
        """Run a command as the application ships it, and wait for its end.

        Args:
            command: Program and arguments; the program is looked for among the application's.
            environment: Settings laid over its own.

        Returns:
            Exit status, output and errors; 128 + signal where a signal ended it.

        Raises:
            PreconditionFailed: Its folder is not there.
        """
        if not self._directory.is_dir():
            raise PreconditionFailed(
                expected="the application's folder, to run a command in.",
                found=f"no {self._directory}.",
                todo="Correct `application_directory` of the target.",
            )
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        path = os.pathsep.join([str(self._programs), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
            cwd=self._directory,
            env={**inherited, "PATH": path, **self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Completed(status, done.stdout, done.stderr)

    @contextmanager
    def pause(self, seconds: float) -> Iterator[bool]:
        """Hold new requests back while the block runs, those in flight having ended.

        Args:
            seconds: When the pause ends by itself, whatever becomes of us.

        Yields:
            Whether that was possible; where not, requests go on as ever.
        """
        # One client for both, made before: making it takes a tenth of a second, which the
        # resume would else add to the pause.
        with httpx.Client(base_url=self._control, trust_env=False) as client:
            pause = _begin(client, seconds)
            try:
                yield pause is not None
            finally:
                if pause is not None:
                    with suppress(httpx.HTTPError):  # then it ends by itself
                        client.post("/resume", params={"pause": pause}, timeout=PATIENCE_SECONDS)


def _begin(client: httpx.Client, seconds: float) -> int | None:
    asked = {"seconds": seconds, "patience": PATIENCE_SECONDS}
    try:
        answer = client.post("/pause", params=asked, timeout=PATIENCE_SECONDS + 3)
        said = answer.json()
        return int(said["pause"]) if answer.is_success and said["ok"] else None
    except (httpx.HTTPError, ValueError, KeyError):
        return None
