"""What PostgreSQL's own programs say of a data folder whose server does not run.

Sources: PostgreSQL manual, pg_controldata; postgres (-C).
"""

import os
import subprocess
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.data_folder import complaint, misfit, read_control
from tasks.platforms.postgresql_programs import find_programs
from tasks.platforms.servers import Control

_LONGEST_SECONDS = 30.0


class ServerPrograms:
    """PostgreSQL's programs, asked about a data folder.

    Args:
        data: The data folder.
        folder: Folder of the programs; searched for where not given.
    """

    def __init__(self, data: Path, folder: Path | None) -> None:
        """Keep where they are."""
        self._data, self._folder = data, folder

    def _program(self, name: str) -> Path:
        version = self._data / "PG_VERSION"
        wanted = version.read_text().strip() if version.exists() else ""
        folder = self._folder or find_programs(int(wanted) if wanted.isdigit() else None)
        if not (folder / name).is_file():
            raise PreconditionFailed(
                expected=f"the server's program {name}.",
                found=f"none in {folder}.",
                todo="Install all of PostgreSQL's server, or set REMEDY_POSTGRES_PROGRAMS to the "
                "folder of its programs.",
            )
        return folder / name

    def _run(self, name: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [self._program(name), *arguments],
                env={"LC_ALL": "C", "PATH": os.defpath},
                cwd="/",
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise PreconditionFailed(
                expected=f"{name} to read {self._data}.",
                found=f"no answer within {_LONGEST_SECONDS:.0f} s.",
                todo="Look whether the disk answers.",
            ) from error

    def misfit(self) -> str:
        """Say why the programs do not fit the data, '' where they do."""
        version = self._data / "PG_VERSION"
        if not version.exists():
            return ""
        shown = self._run("postgres", "--version").stdout.strip()
        return misfit(version.read_text().strip(), shown)

    def control(self) -> tuple[Control | None, str]:
        """Read the control file; None where that cannot be, and what is wrong with it."""
        if not (self._data / "global" / "pg_control").exists():
            return None, "there is no global/pg_control"
        done = self._run("pg_controldata", "-D", self._data)
        if "Permission denied" in done.stderr:
            raise PreconditionFailed(
                expected=f"to read the control file in {self._data}.",
                found=done.stderr.strip().splitlines()[-1],
                todo="Run the worker as the server's user, or as root; or give the file back to "
                "the server's user.",
            )
        return read_control(f"{done.stdout}\n{done.stderr}", done.returncode)

    def complaint(self) -> str:
        """Say what the server has against its configuration, '' for nothing."""
        # Reads the configuration and ends; -C has to come first for root to be let in.
        done = self._run("postgres", "-C", "data_directory", "-D", self._data)
        return complaint(done.stderr, done.returncode)
