"""The application's settings: what the compose files make of the project's `.env`."""

from collections.abc import Mapping
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.project import Project
from tasks.platforms.settings_file import SettingsFile


class ComposeSettings:
    """Settings of a service, in `.env`.

    Args:
        project: The compose project.
        service: The service.
        file: The project's `.env`.
    """

    def __init__(self, project: Project, service: str, file: Path) -> None:
        """Keep where they are; reads nothing."""
        self._project, self._service, self._file = project, service, SettingsFile(file)

    def settings(self) -> dict[str, str]:
        """Read the settings that a container is started with now.

        Returns:
            Value by name, as the compose files put them together.

        Raises:
            PreconditionFailed: The files cannot be read.
        """
        return self._project.settings(self._service)

    def unset(self) -> tuple[str, ...]:
        """Name what the compose files insist on (`${NAME:?}`), and what is not set."""
        return self._project.unset()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change some settings in `.env`, whole or not at all; comments and order stay.

        Args:
            settings: New value by name.

        Raises:
            PreconditionFailed: The file cannot be written to, or the compose files do not take
                one of them from there: it is as it was then.
            BadInput: A value cannot be written there.
        """
        insist_on_fence()
        before, now = self._file.text(), self.settings()
        old = {name: now[name] for name in settings if name in now}
        self._file.change(settings)
        try:
            now = self._project.settings(self._service, self._project.described())
        except RemediationError:  # with it the compose files are none any more
            self._file.put_back(before, settings, old)
            raise
        if missed := [name for name, value in settings.items() if now.get(name) != value]:
            self._file.put_back(before, settings, old)
            raise PreconditionFailed(
                expected=f"the compose files to take {', '.join(missed)} from {self._file.path}.",
                found="they have a value of their own, or do not pass it on.",
                state="The file is as it was.",
                todo=f"Write `NAME: ${{NAME}}` under the environment of service {self._service}.",
            )

    def configuration(self) -> str:
        """Give the text of `.env`, secrets among it, for `put_back`.

        Raises:
            PreconditionFailed: It cannot be read.
        """
        return self._file.text()

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
        self._file.put_back(text, written, old)
