"""The compose files of a project: read by compose, tried, and written whole."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.complaints import shown
from tasks.platforms.compose.engine import OF_PROJECT, OF_SERVICE
from tasks.platforms.compose.programs import LocalComposePrograms
from tasks.platforms.compose.project import Project
from tasks.platforms.definitions import Program, Reading
from tasks.platforms.whole_files import write_whole

_MADE_FROM = "com.docker.compose.config-hash"
_DRAFT = re.compile(r"\.remedy-(\d+)$")


class ComposeDefinition:
    """The compose files of a project.

    Args:
        project: The project.
        wanted: Path or URL of the compose program that it shall have, and its SHA-256.
    """

    def __init__(self, project: Project, wanted: tuple[str, str] = ("", "")) -> None:
        """Keep where they are; reads nothing."""
        self._project, self._wanted = project, wanted
        self._folder = project.files.folder

    def texts(self) -> dict[str, str]:
        """Read the files.

        Returns:
            Text by name, in the order in which they are laid over one another.

        Raises:
            PreconditionFailed: One cannot be read.
        """
        names = self._project.files.files
        try:
            # As bytes: reading as text would turn the line ends of Windows into ours.
            return {name: (self._folder / name).read_bytes().decode() for name in names}
        except (OSError, UnicodeDecodeError) as error:
            raise self._told(error) from error

    def program(self) -> Program:
        """Ask compose for its version.

        Raises:
            PreconditionFailed: It does not say.
        """
        command = " ".join(self._project.files.command)
        said = self._project.run("version", "--short").strip()
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
        if found is None:
            raise PreconditionFailed(
                expected=f"`{command} version --short` to name a version.",
                found=f"{said[:80]!r}.",
                todo="Correct `compose_command` of the target.",
            )
        return Program(Path(command).name, tuple(map(int, found.groups())))

    @property
    def programs(self) -> LocalComposePrograms:
        """The compose programs of this machine."""

        def read(project: Project) -> tuple[Program, Reading]:
            other = ComposeDefinition(project)
            return other.program(), other.read()

        return LocalComposePrograms(self._project, read, self._wanted)

    def read(self, texts: Mapping[str, str] | None = None) -> Reading:
        """Have compose read the files as they are, or other texts in their places.

        Args:
            texts: Text by name, for those that are to be read otherwise than they stand there.

        Returns:
            What it makes of them and says of them.

        Raises:
            PreconditionFailed: The folder cannot be written to.
        """
        with self._drafts(texts or {}) as names:
            done = self._project.try_to("config", given=names)
            if done.status:
                return Reading(shown(done.errors), None)
            hashes = self._project.try_to("config", "--hash", "*", given=names)
        pairs = (line.split() for line in hashes.output.splitlines())
        return Reading(
            said=shown(done.errors),
            project=yaml.safe_load(done.output) or {},
            fingerprints={pair[0]: pair[1] for pair in pairs if len(pair) == 2},  # noqa: PLR2004 - service and hash
        )

    def write(self, texts: Mapping[str, str], *, tried: bool = True) -> None:
        """Put other texts into files, each whole or not at all; owner and rights stay.

        Args:
            texts: Text by name.
            tried: Whether compose has to read them first.

        Raises:
            PreconditionFailed: Compose refuses them together, or a file cannot be written.
        """
        insist_on_fence()
        if tried and (reading := self.read(texts)).services is None:
            raise PreconditionFailed(
                expected=f"compose to read what shall be in {', '.join(texts)}.",
                found=f"it refuses: {'; '.join(reading.said)}.",
                state="The files are as they were.",
                todo="Correct what it names, then run again.",
            )
        try:
            for name, text in texts.items():
                write_whole(self._folder / name, text.encode())
                faults.point("after-file:compose")
        except OSError as error:
            raise self._told(error) from error

    def made_from(self) -> dict[str, str]:
        """Give the hash of the files' words with which each service's container was made.

        Returns:
            Hash by service.

        Raises:
            Transient: The engine does not answer.
        """
        found = self._project.engine.containers({OF_PROJECT: self._project.name, _MADE_FROM: ""})
        return {one.labels[OF_SERVICE]: one.labels[_MADE_FROM] for one in found}

    def volumes(self) -> frozenset[str]:
        """Name the volumes that there are on the engine, whoever made them.

        Raises:
            Transient: The engine does not answer.
        """
        with self._project.engine.client() as client:
            return frozenset(str(one.name) for one in client.volumes.list())

    @contextmanager
    def _drafts(self, texts: Mapping[str, str]) -> Iterator[Sequence[str]]:
        """Lay texts beside the files, as what they name is looked for from there."""
        drafts = {name: f"{name}.remedy-{os.getpid()}" for name in texts}
        try:
            self._clear_up()
            for name, draft in drafts.items():
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                with os.fdopen(
                    os.open(self._folder / draft, flags, 0o600), "w", newline=""
                ) as file:
                    file.write(texts[name])
            yield [drafts.get(name, name) for name in self._project.files.files]
        except OSError as error:
            raise self._told(error) from error
        finally:
            for draft in drafts.values():
                (self._folder / draft).unlink(missing_ok=True)

    def _clear_up(self) -> None:
        """Remove drafts of processes that were killed."""
        for name in self._project.files.files:
            place = self._folder / name
            for left in place.parent.glob(f"{place.name}.remedy-*"):
                owner = _DRAFT.search(left.name)
                if owner and not psutil.pid_exists(int(owner[1])):
                    left.unlink(missing_ok=True)

    def _told(self, error: OSError | UnicodeDecodeError) -> PreconditionFailed:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        return PreconditionFailed(
            expected=f"to read and write the compose files in {self._folder}.",
            found=f"{type(error).__name__}: {why}.",
            state="Each of them is whole: as it was, or as it shall be.",
            todo="Correct `compose_files` of the target, or the rights of files and folder.",
        )
