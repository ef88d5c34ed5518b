"""The password of Prefect's API, asked for wherever it is served beyond loopback."""

import secrets
from pathlib import Path

from deployments.services.settings import write_private
from tasks.guardrails.errors import PreconditionFailed

USER = "remedy"


def file_of(home: Path) -> Path:
    """Give the file in which `USER:PASSWORD` is kept, the whole that Prefect asks for."""
    return home / "keys" / "prefect-api.auth"


def read(home: Path) -> str:
    """Read `USER:PASSWORD`; '' where none was made."""
    path = file_of(home)
    return path.read_text().strip() if path.exists() else ""


def make(home: Path) -> None:
    """Make a password where there is none.

    Raises:
        PreconditionFailed: There is one that others can read.
    """
    path = file_of(home)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, f"{USER}:{secrets.token_urlsafe(24)}\n")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise PreconditionFailed(
            expected=f"a password that only its owner reads: {path}.",
            found=f"mode {mode:04o}.",
            todo=f"Remove {path}, and run `remedy up`: it makes another one.",
        )
