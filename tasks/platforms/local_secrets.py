"""Secrets that are made for a target, in a folder that only its owner reads."""

import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from tasks.guardrails.errors import BadInput, PreconditionFailed


class LocalSecrets:
    """A folder with a file for each name; what is in it is whole.

    Args:
        folder: The folder; None where the target names none.
    """

    def __init__(self, folder: Path | None) -> None:
        """Keep where it is; reads nothing."""
        self._folder = folder

    def keep(self, name: str, values: Mapping[str, str]) -> None:
        """Keep values under a name; kept already is fine, and what was kept stays.

        Args:
            name: Lower-case letters, digits and dashes.
            values: Value by key.

        Raises:
            PreconditionFailed: The folder cannot be written to.
        """
        path = self._path(name)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                json.dump(dict(values), file)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # fails where there is one: that one stays
            except FileExistsError:
                return
            finally:
                draft.unlink()
        except OSError as error:
            raise self._told(error) from error

    def read(self, name: str) -> dict[str, str] | None:
        """Read the values under a name.

        Args:
            name: The name.

        Returns:
            Value by key; None where there are none.

        Raises:
            PreconditionFailed: They cannot be read.
        """
        try:
            found: dict[str, str] = json.loads(self._path(name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._told(error) from error
        return found

    def forget(self, name: str) -> None:
        """Remove what is kept under a name; missing is fine.

        Args:
            name: The name.
        """
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
            for draft in path.parent.glob(f".{path.name}.*"):  # of one that was killed
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise self._told(error) from error

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise PreconditionFailed(
                expected="a folder for secrets that are made for the target.",
                found="the target names none.",
                todo="Set `secrets_directory` of the target.",
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,100}", name):
            raise BadInput(
                expected="the name of a secret: lower-case letters, digits and dashes.",
                found=f"{name!r}.",
                todo="Choose such a name.",
            )
        return self._folder / f"{name}.json"

    def _told(self, error: OSError | ValueError) -> PreconditionFailed:
        why = error.strerror if isinstance(error, OSError) else "not JSON"
        return PreconditionFailed(
            expected=f"to read and write secrets in {self._folder}.",
            found=f"{why or type(error).__name__}.",
            state="What was kept there is still there.",
            todo="Correct `secrets_directory` of the target, or the folder's rights.",
        )
