"""Which package of the machine a file belongs to, and whether a newer one can be had.

Sources: manuals dpkg-query(1), rpm(8), apk(8), apt-cache(8).
"""

import os
import re
import shutil
from pathlib import Path

from tasks.platforms.local_commands import run_here

_ASK = (
    (("dpkg-query", "--search"), re.compile(r"^([a-z0-9][a-z0-9+.-]*)(?::\w+)?: ")),
    (("rpm", "--query", "--queryformat", "%{NAME}\n", "--file"), re.compile(r"^([\w.+-]+)$")),
    (("apk", "info", "--who-owns"), re.compile(r"is owned by ([\w.+-]+?)-\d")),
)
_POLICY = re.compile(r"Installed: (?P<now>\S+)\s+Candidate: (?P<newest>\S+)")


def owner_of(path: Path) -> tuple[str, str]:
    """Find the package that has installed a file.

    Args:
        path: The file, no link.

    Returns:
        Its name, '' for none; and the newer version that apt can have, '' for none.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    for command, pattern in _ASK:
        if shutil.which(command[0]) is None:
            continue
        said = run_here([*command, str(path)], Path("/"), environment)
        found = pattern.search(said.output) if said.status == 0 else None
        if found:
            return found[1], _newest(found[1], environment)
    return "", ""


def _newest(package: str, environment: dict[str, str]) -> str:
    if shutil.which("apt-cache") is None:
        return ""
    said = run_here(["apt-cache", "policy", package], Path("/"), environment)
    found = _POLICY.search(said.output)
    return found["newest"] if found and found["newest"] != found["now"] else ""
