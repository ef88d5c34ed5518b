"""The application as local processes behind a proxy that can hold requests back."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed, Replica
from tasks.platforms.local_commands import run_here
from tasks.platforms.sandbox.replicas import LocalReplicas
from tasks.platforms.settings_file import SettingsFile

PATIENCE_SECONDS = 2.0


class LocalApplication:
    """The web application, as processes of this machine.

    Args:
        url: Where users reach it: the proxy.
        control_url: The proxy's control API.
        directory: Its working directory, with alembic.ini.
        programs: Folder of its programs (python, alembic).
        environment: Settings, secrets among them, beside those in the file.
        settings_file: Its `.env`, or None.
        replicas: URL of each of its processes by name.
        restart_command: Restarts a process; `{replica}` stands for its name.
    """

    def __init__(
        self,
        url: str,
        control_url: str,
        directory: Path,
        programs: Path,
        environment: Mapping[str, str],
        settings_file: Path | None = None,
        replicas: Mapping[str, str] | None = None,
        restart_command: Sequence[str] = (),
    ) -> None:
        """Keep where it is; asks nothing."""
        self.url, self._control = url, control_url
        self._directory, self._programs, self._environment = directory, programs, environment
        self._file = SettingsFile(settings_file) if settings_file else None
        self._replicas = LocalReplicas(
            replicas or {}, control_url, restart_command, lambda command: self.execute(command, {})
        )
        self.replicas: Callable[[], list[Replica]] = self._replicas.list
        self.drain, self.admit = self._replicas.drain, self._replicas.admit
        self.restart, self.stand_in = self._replicas.restart, self._replicas.stand_in

    def settings(self) -> dict[str, str]:
        """Read the settings that a process is started with now.

        Returns:
            Value by name.

        Raises:
            PreconditionFailed: The file cannot be read.
        """
        return {**self._environment, **(self._file.read() if self._file else {})}

    def unset(self) -> tuple[str, ...]:
        """Name what is insisted on and not set: here nothing is insisted on."""
        return ()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change some settings in the file, whole or not at all; comments and order stay.

        Args:
            settings: New value by name.

        Raises:
            PreconditionFailed: The target names no file, or it cannot be written to.
            BadInput: A value cannot be written there.
        """
        insist_on_fence()
        self._insist_on_file().change(settings)

    def configuration(self) -> str:
        """Give the text of the settings' file, secrets among it, for `put_back`.

        Raises:
            PreconditionFailed: The target names no file, or it cannot be read.
        """
        return self._insist_on_file().text()

    def put_back(self, text: str, written: Mapping[str, str], old: Mapping[str, str]) -> None:
        """Take `configure(written)` back; put back already is fine.

        Args:
            text: What the file was before.
            written: What was changed.
            old: The values of before, for a file that somebody has edited since.

        Raises:
            PreconditionFailed: The file cannot be written to.
            BadInput: Somebody has edited it, and an old value cannot be written beside that.
        """
        insist_on_fence()
        self._insist_on_file().put_back(text, written, old)

    def _insist_on_file(self) -> SettingsFile:
        if self._file is None:
            raise PreconditionFailed(
                expected="the file with the application's settings, to change them in.",
                found="the target names none.",
                todo="Set `environment_file` of the target.",
            )
        return self._file

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
        return self.execute(command, {**self.settings(), **environment})

    def execute(
        self, command: Sequence[str], environment: Mapping[str, str], seconds: float | None = None
    ) -> Completed:
        """Run a command on this machine that ends with us, and wait for its end.

        Args:
            command: Program and arguments; the program is looked for among the application's.
            environment: All of its settings.
            seconds: How long it may take, for one that starts what goes on after it: what that
                says goes nowhere, as else its output would hold us. Without it there is no bound.

        Raises:
            PreconditionFailed: It took longer, and was ended.
        """
        path = os.pathsep.join([str(self._programs), os.environ.get("PATH", os.defpath)])
        return run_here(command, self._directory, {"PATH": path, **environment}, seconds)

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
