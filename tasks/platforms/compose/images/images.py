"""The images of a compose project, as remediations see them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.compose.images import builder
from tasks.platforms.compose.images.contexts import Patterns, list_files
from tasks.platforms.compose.images.recipes import read_recipes
from tasks.platforms.compose.images.trial import Serving, remove_image, run_apart, tried
from tasks.platforms.compose.project import Project
from tasks.platforms.images import Built, Recipe, Trial
from tasks.platforms.whole_files import write_whole

_NAMES = ("dockerfile", "containerfile")
_LARGEST = 1_000_000  # no Dockerfile is


class ComposeImages:
    """The images that a compose project builds.

    Args:
        project: The project.
        target: Name of the target.
        serving: What serves its users.
    """

    def __init__(self, project: Project, target: str, serving: Serving) -> None:
        """Keep where it is; reads nothing."""
        self._project, self._target, self._serving = project, target, serving

    def recipes(self) -> list[Recipe]:
        """Read how each image is built, those of services in any profile too.

        Raises:
            PreconditionFailed: The files cannot be read.
        """
        return read_recipes(self._project)

    def dockerfiles(self, recipe: Recipe) -> dict[str, str]:
        """Read every Dockerfile that a builder gets with a recipe's folder.

        Args:
            recipe: The recipe.

        Returns:
            Text by path; its own as well.
        """
        found = {recipe.dockerfile: recipe.text}
        for path, size in self.files(recipe, self.read(recipe.context, recipe.ignore)).items():
            name = path.rpartition("/")[2].lower()
            named = name.startswith(_NAMES) or name.endswith(tuple(f".{one}" for one in _NAMES))
            if named and not name.endswith("ignore") and 0 < size < _LARGEST:
                text = (recipe.context / path).read_text(encoding="utf-8", errors="replace")
                found.setdefault(path, text)
        return found

    def files(self, recipe: Recipe, ignore: str | None) -> dict[str, int]:
        """List what the builder gets.

        Args:
            recipe: The recipe.
            ignore: Text of the ignore file, None for none.

        Returns:
            Bytes by path; folders too, with 0.

        Raises:
            PreconditionFailed: A file or folder cannot be read.
        """
        return list_files(recipe.context, ignore, (recipe.dockerfile, recipe.ignore))

    def hidden(self, lines: Sequence[str], paths: Iterable[str]) -> set[str]:
        """Say which paths lines of an ignore file hide.

        Args:
            lines: The lines.
            paths: Paths seen from the folder.

        Returns:
            Those that the builder would not get.
        """
        patterns = Patterns(lines)
        return {path for path in paths if patterns.hide(path)}

    def read(self, context: Path, name: str) -> str | None:
        """Read a file that images are built by.

        Args:
            context: The folder.
            name: Its name there.

        Returns:
            Its text, None where there is none.

        Raises:
            PreconditionFailed: It cannot be read.
        """
        try:
            # As bytes: reading as text would turn the line ends of Windows into ours.
            return (context / name).read_bytes().decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise _told(context / name, error) from error

    def write(self, context: Path, name: str, text: str | None) -> None:
        """Write a file that images are built by, whole or not at all.

        Args:
            context: The folder.
            name: Its name there.
            text: Its text, None to remove it.

        Raises:
            PreconditionFailed: It cannot be written.
        """
        insist_on_fence()
        file = context / name
        try:
            if text is None:
                file.unlink(missing_ok=True)
            elif file.exists():
                write_whole(file, text.encode())
            else:
                _make(file, text)
        except OSError as error:
            raise _told(file, error) from error
        faults.point("after-file:images")

    def build(
        self,
        recipe: Recipe,
        remediation: str,
        *,
        ignore: str | None,
        cached: bool = True,
        replaced: Mapping[str, str] = MappingProxyType({}),
        name: str = "",
    ) -> Built:
        """Build an image.

        Args:
            recipe: How.
            remediation: The id that is on its label.
            ignore: Text of the ignore file, None for none.
            cached: Whether steps of earlier builds are taken over.
            replaced: Texts that it gets in the place of files, by their path.
            name: What it is called, '' for no name.

        Returns:
            How it ended.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: The files cannot be read.
        """
        return builder.build(
            *(self._project.engine, recipe, remediation),
            ignore=ignore,
            cached=cached,
            replaced=replaced,
            name=name,
        )

    def forget(self, remediation: str, builds: Sequence[Built] = ()) -> None:
        """Remove images without a name that were built for a remediation; gone is fine.

        Args:
            remediation: Its id.
            builds: How they were built: what they made on the way goes as well.
        """
        with self._project.engine.client() as client:
            builder.forget(client, remediation, builds)

    def run(self, image: str, command: Sequence[str]) -> Completed:
        """Run a command in a container of an image, without network, and wait for its end.

        Args:
            image: Id or name of the image.
            command: Program and arguments.

        Returns:
            Exit status, output and errors.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: It refuses, or has no such image.
        """
        return run_apart(self._project, self._target, image, command)

    def tried(self, image: str, seconds: float) -> AbstractContextManager[Trial]:
        """Have a container of an image while the block runs, like those that serve.

        Args:
            image: Id or name of the image.
            seconds: How long it may take to answer.

        Raises:
            Transient: There is no container of the application to be like.
        """
        return tried(self._project, self._target, self._serving, image, seconds)

    def remove(self, name: str) -> None:
        """Remove an image by its name, with itself where that was the last one; gone is fine.

        Args:
            name: The name.

        Raises:
            PreconditionFailed: A container is made of it.
        """
        remove_image(self._project.engine, name)


def _make(file: Path, text: str) -> None:
    """Write a file that is not there, for the owner of its folder."""
    draft, owner = file.with_name(f"{file.name}.new"), file.parent.stat()
    draft.unlink(missing_ok=True)  # of one that was killed
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(number, "wb") as new:
        os.fchown(number, owner.st_uid, owner.st_gid)
        new.write(text.encode())
        new.flush()
        os.fsync(number)
    draft.replace(file)


def _told(file: Path, error: OSError | UnicodeDecodeError) -> PreconditionFailed:
    why = error.strerror if isinstance(error, OSError) else "not UTF-8"
    return PreconditionFailed(
        expected=f"to read and write {file}.",
        found=f"{type(error).__name__}: {why}.",
        state="It is whole: as it was, or as it shall be.",
        todo="Correct the rights of file and folder, or what is in it.",
    )
