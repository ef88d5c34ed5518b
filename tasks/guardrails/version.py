"""The version of the code at work: a plan made by another one is made and approved anew."""

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


@cache
def code_version() -> str:
    """Hash the source of flows and tasks as this process has it installed.

    Returns:
        The first 16 hexadecimal digits of a sha256 over names and contents.
    """
    digest = hashlib.sha256()
    for package in ("flows", "tasks"):
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(_ROOT)).encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
