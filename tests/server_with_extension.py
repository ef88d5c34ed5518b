"""A sandbox on Debian's PostgreSQL with an extension; nothing of the machine is changed.

The environment variable REMEDY_TEST_PG_REPACK may name a folder with a pg_repack of another
version, as it was built for that server: pg_repack, pg_repack.so, its .control and its .sql.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.platforms.postgresql_programs import find_programs
from tests.sandbox_fixtures import FEW_ROWS, PREFIX, sandbox_in

_DEBIAN = Path("/usr/lib/postgresql")


@contextmanager
def sandbox_with(extension: str) -> Iterator[Sandbox]:
    """Have a sandbox of its own whose server has an extension; it is gone afterwards.

    Args:
        extension: What Debian's package calls it, as 'repack'.

    Yields:
        The sandbox; the test is skipped where the package cannot be had.
    """
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    home.chmod(0o711)
    laid = home / "debian"
    laid.mkdir(mode=0o755)
    try:
        programs = _lay_out(laid, extension)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REMEDY_POSTGRES_PROGRAMS", str(programs))
            with sandbox_in(home, FEW_ROWS) as system:
                yield system
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def compose_with(extension: str, system: ComposeSystem, folder: Path) -> Iterator[Path]:
    """Have an extension in the container of a compose project's database; it goes again.

    Args:
        extension: What Debian's package calls it.
        system: The project.
        folder: An empty folder.

    Yields:
        The folder of the package's programs; the test is skipped where there is no package.
    """
    with system.connect() as session:
        version = str(session.info.server_version // 10000)
    container = system.project.container("db")
    if container.exec_run(["test", "-d", str(_DEBIAN / version / "lib")]).exit_code:
        pytest.skip(f"the server in {container.name} is not Debian's: no package fits it")
    _unpack(folder, version, extension)
    brought = [
        one for one in (folder / "usr").rglob("*") if one.suffix in {".so", ".sql", ".control"}
    ]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for one in brought:
            archive.add(one, one.relative_to(folder))
    container.put_archive("/", packed.getvalue())
    try:
        yield folder / _DEBIAN.relative_to("/") / version / "bin"
    finally:
        names = [f"/{one.relative_to(folder)}" for one in brought]
        system.project.container("db").exec_run(["rm", "-f", *names], user="root")


def _lay_out(folder: Path, extension: str) -> Path:
    """Lay the server's programs and those of Debian's package for it out, without root's rights.

    A server finds its libraries and extensions from where its own program is.

    Args:
        folder: An empty folder that every user can reach.
        extension: What Debian's package calls it.

    Returns:
        The folder of the programs; the test is skipped where they cannot be had.
    """
    programs = find_programs()
    if programs.parents[1] != _DEBIAN:
        pytest.skip(f"the server in {programs} is not Debian's: no package of {extension} fits it")
    version = programs.parent.name
    built = os.environ.get("REMEDY_TEST_PG_REPACK") if extension == "repack" else None
    if built:
        _take_built(Path(built), folder, version)
    else:
        _unpack(folder, version, extension)
    for part in (f"lib/postgresql/{version}", f"share/postgresql/{version}"):
        _link(Path("/usr") / part, folder / "usr" / part)
    for each in (folder, *folder.rglob("*")):
        if each.is_dir() and not each.is_symlink():
            each.chmod(0o755)
    return folder / "usr" / "lib" / "postgresql" / version / "bin"


def _take_built(built: Path, folder: Path, version: str) -> None:
    """Put what somebody built where the package would have put it."""
    places = {
        "pg_repack": f"lib/postgresql/{version}/bin",
        "*.so": f"lib/postgresql/{version}/lib",
        "*.control": f"share/postgresql/{version}/extension",
        "pg_repack--*.sql": f"share/postgresql/{version}/extension",
    }
    for pattern, place in places.items():
        (folder / "usr" / place).mkdir(parents=True, exist_ok=True)
        for each in built.glob(pattern):
            shutil.copy2(each, folder / "usr" / place)


def _unpack(folder: Path, version: str, extension: str) -> None:
    """Unpack Debian's package, from wherever apt is set up to look."""
    package = f"postgresql-{version}-{extension}"
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip(f"{package} cannot be had without apt-get and dpkg")
    done = subprocess.run(
        ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False
    )
    found = list(folder.glob("*.deb"))
    if done.returncode or not found:
        pytest.skip(f"apt-get download {package}: {done.stderr.strip()[-300:]}")
    subprocess.run(["dpkg", "-x", found[0], folder], check=True)


def _link(source: Path, goal: Path) -> None:
    """Link what the package has not brought; a program by another name would find its old home."""
    goal.mkdir(parents=True, exist_ok=True)
    for each in source.iterdir():
        here = goal / each.name
        if here.is_dir() or each.name == "bin":
            _link(each, here)
        elif source.name == "bin":
            shutil.copy2(each, here)
        elif not here.exists():
            here.symlink_to(each)
