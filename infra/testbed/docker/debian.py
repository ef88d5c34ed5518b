"""Packages of Debian that the test bed needs, installed where we may."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from tasks.guardrails.errors import PreconditionFailed


def install(packages: Sequence[str], purpose: str = "an engine that answers") -> list[str]:
    """Install packages of the machine's own distribution.

    Args:
        packages: Their names.
        purpose: What they are installed for.

    Returns:
        Their names.

    Raises:
        PreconditionFailed: We may not, this is no Debian, or apt-get fails.
    """
    todo = (
        f"Run `apt-get install {' '.join(packages)}` as root; for Docker an engine that runs and "
    )
    todo += "DOCKER_HOST will do."
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PreconditionFailed(
            expected=f"{purpose}, or {packages[0]} to be installed.",
            found="neither, and no apt-get as root to install it with.",
            todo=todo,
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    patient = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]  # somebody else may install just now
    asked = [*patient, "install", "--yes", "--no-install-recommends", *packages]
    # The lists of packages may be of last year; fetching them is not always needed.
    for command in (asked, ["apt-get", "update"], asked):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is asked and done.returncode == 0:
            return list(packages)
    raise PreconditionFailed(
        expected=f"apt-get to install {', '.join(packages)}.",
        found=done.stderr.strip()[-800:],
        todo=todo,
    )
