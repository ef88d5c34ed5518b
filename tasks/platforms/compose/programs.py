"""Compose programs of the worker's machine: found as docker finds them, replaced by a rename.

Sources: docker's manual, "Docker CLI plugins" and `cliPluginsExtraDirs` of config.json; compose's
manual, "Install the Docker Compose plugin, manually".
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.download import fetch
from tasks.platforms.compose.package_owner import owner_of
from tasks.platforms.compose.project import Project
from tasks.platforms.compose_programs import Installed
from tasks.platforms.definitions import Program, Reading
from tasks.platforms.local_commands import run_here
from tasks.platforms.whole_files import write_through

_NAME = "docker-compose"
_FOLDERS = (
    *("/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins"),
    *("/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"),
)
_OWN = Path("/usr/local/bin")
_SECONDS = 60


class LocalComposePrograms:
    """The compose programs that a project's command may be.

    Args:
        project: The project.
        read: Has the program of a project say its version, and read its files.
        wanted: Path or URL of the one that the target names, and its SHA-256.
    """

    def __init__(
        self,
        project: Project,
        read: Callable[[Project], tuple[Program, Reading]],
        wanted: tuple[str, str],
    ) -> None:
        """Keep which project; looks at nothing."""
        self.wanted = wanted
        self._project, self._files, self._read = project, project.files, read

    def installed(self) -> list[Installed]:
        """Find them in the order in which they are looked for; the first one is used."""
        return [self._look(path) for path in self._places() if path.exists()]

    def place(self) -> str:
        """Say where another one goes to be used in the place of the present one.

        Raises:
            PreconditionFailed: We may write to no such place.
        """
        places = self._places()
        used = next((self._look(path) for path in places if path.exists()), None)
        if used and used.writable and not used.package:
            return used.path
        for path in self._own_places():
            if used and places.index(Path(used.path)) <= places.index(path):
                continue
            if _may_write(path):
                return str(path)
        raise PreconditionFailed(
            expected="a place for another compose program that is looked at before "
            f"{used.path if used else 'all others'}, and that the worker's user may write to.",
            found=f"{f'that belongs to package {used.package}; ' if used and used.package else ''}"
            "none.",
            todo="Run the worker as a user that may write there, or update the package.",
        )

    @property
    def _is_plugin(self) -> bool:
        command = self._files.command
        return Path(command[0]).name == "docker" and command[-1] == "compose"

    def _places(self) -> list[Path]:
        """Give where programs are looked for, in that order."""
        if not self._is_plugin:
            name = self._files.command[0]
            if "/" in name:
                return [Path(name)]
            folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
            return [Path(one) / name for one in dict.fromkeys(folders) if one.startswith("/")]
        extra: list[str] = []
        with suppress(OSError, ValueError):
            said = json.loads((self._configuration / "config.json").read_text())
            extra = [str(one) for one in said.get("cliPluginsExtraDirs") or []]
        folders = [*extra, str(self._configuration / "cli-plugins"), *_FOLDERS]
        return [Path(one) / _NAME for one in dict.fromkeys(folders)]

    def _own_places(self) -> list[Path]:
        if self._is_plugin:
            return [self._configuration / "cli-plugins" / _NAME]
        own = _OWN / self._files.command[0]
        return [own] if own in self._places() else []

    @property
    def _configuration(self) -> Path:
        given = self._files.environment.get("DOCKER_CONFIG")
        return Path(given) if given else Path.home() / ".docker"

    def _look(self, path: Path) -> Installed:
        digest, link = self.at(str(path))
        package, newest = owner_of(path.resolve())
        said = run_here([str(path), "version", "--short"], Path("/"), self._environment())
        version = said.output.strip().removeprefix("v") if said.status == 0 else ""
        return Installed(str(path), version, digest, link, package, newest, _may_write(path))

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath)}

    def at(self, path: str) -> tuple[str, str]:
        """Give the SHA-256 of what is at a path, and where it leads as a link; '' for nothing."""
        with suppress(FileNotFoundError):
            link = str(Path(path).readlink()) if Path(path).is_symlink() else ""
            return _digest(Path(path)), link
        return "", ""

    @contextmanager
    def fetched(self, source: str, digest: str) -> Iterator[Path]:
        """Have a program from elsewhere on this machine while a block runs, known by its hash.

        Raises:
            PreconditionFailed: It cannot be had, or is another one.
        """
        with TemporaryDirectory(prefix="remedy-compose-") as folder:
            program = Path(folder) / _NAME
            _take(source, digest, program)
            yield program

    def reads(self, program: Path) -> tuple[Program, Reading]:
        """Have another program read the project's files.

        Raises:
            PreconditionFailed: It does not run here.
        """
        files = replace(self._files, command=(str(program),))
        return self._read(self._project.beside(files))

    def is_begun(self, path: str, mark: str) -> bool:
        """Say whether what an installation keeps or drafts beside a place is there."""
        beside = (_beside(Path(path), f"{what}-{mark}") for what in ("before", "new"))
        return any(os.path.lexists(one) for one in beside)

    def install(self, source: str, digest: str, path: str, mark: str) -> None:
        """Put a program where it is used, whole or not at all, and keep what is there.

        Raises:
            LeaseLost: The lease ran out; the old one is there.
            PreconditionFailed: It cannot be had or written; the old one is there.
        """
        insist_on_fence()
        place = Path(path)
        kept, draft = _beside(place, f"before-{mark}"), _beside(place, f"new-{mark}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)  # of one that was killed
            _take(source, digest, draft)
            faults.point("compose_programs:drafted")
            if os.path.lexists(place) and not os.path.lexists(kept):
                os.link(place, kept, follow_symlinks=False)
            faults.point("compose_programs:kept")
            insist_on_fence()
            draft.replace(place)
            write_through(place.parent)
        except OSError as error:
            raise PreconditionFailed(
                expected=f"to write {place}.",
                found=f"{error.strerror or error}.",
                state="The old one is there.",
                todo="Let the worker's user write there, or make room.",
            ) from error
        finally:
            draft.unlink(missing_ok=True)

    def put_back(self, digest: str, path: str, mark: str) -> None:
        """Put back what was kept, the very file; remove ours where there was none."""
        insist_on_fence()
        place = Path(path)
        kept = _beside(place, f"before-{mark}")
        if os.path.lexists(kept):
            kept.replace(place)
            kept.unlink(missing_ok=True)  # where both are the same file a rename does nothing
        elif self.at(path) == (digest, ""):
            place.unlink()
        _beside(place, f"new-{mark}").unlink(missing_ok=True)
        if place.parent.exists():
            write_through(place.parent)


def _beside(place: Path, mark: str) -> Path:
    # Not as plugins are called: docker would take it for one.
    return place.with_name(f".{place.name}.{mark}")


def _may_write(path: Path) -> bool:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _take(source: str, digest: str, program: Path) -> None:
    """Copy a program, and insist on its hash.

    Raises:
        PreconditionFailed: It cannot be had, or is another one.
    """
    try:
        if source.startswith("/"):
            shutil.copyfile(source, program)
        else:
            fetch(source, program)
        program.chmod(0o755)
        write_through(program)
    except OSError as error:
        raise PreconditionFailed(
            expected=f"the program {source}.",
            found=f"{error.strerror or error}.",
            todo="Correct `source`: a path on the worker's machine, or a URL.",
        ) from error
    if (found := _digest(program)) != digest:
        program.unlink()
        raise PreconditionFailed(
            expected=f"{source} with SHA-256 {digest}.",
            found=f"one with {found}: another version, or not what it claims to be.",
            todo="Compare with the checksums that compose's release page shows, from another way.",
        )
