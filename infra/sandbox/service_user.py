"""The user that services run as: nobody where we are root, as PostgreSQL refuses root."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed

NOBODY = 65534


def service_user() -> int | None:
    """Give the user that services run as; None for ourselves."""
    return NOBODY if os.geteuid() == 0 else None


def hand_over(*paths: Path) -> None:
    """Give files and folders to the user that services run as."""
    user = service_user()
    if user is not None:
        for path in paths:
            os.chown(path, user, user)


def run(command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end as the user that services run as."""
    user = service_user()
    return subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def insist_on_passage(folder: Path) -> None:
    """Make sure that the user that services run as can reach a folder.

    Raises:
        PreconditionFailed: A folder on the way shuts others out.
    """
    if service_user() is None:
        return
    for each in (folder, *folder.parents):
        if not each.stat().st_mode & 0o001:
            raise PreconditionFailed(
                expected=f"a folder that user {NOBODY}, as whom services run, can reach.",
                found=f"{each} shuts others out.",
                todo=f"Run `chmod o+x {each}`, or choose another REMEDY_HOME.",
            )
