"""A machine's disk and configuration for tests of swap; the swap itself is the real kernel's."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from infra.testbed.docker.debian import install
from infra.testbed.docker.engine import locked
from tasks.guardrails.errors import PreconditionFailed
from tests.compose_fixtures import or_missing

PREFIX = "remedy-test-swap-"
SWAPS = Path("/proc/swaps")
SWAPPINESS = Path("/proc/sys/vm/swappiness")
_PACKAGES = {"xfs": "xfsprogs", "btrfs": "btrfs-progs"}
_SIZES = {"xfs": 320 * 2**20, "btrfs": 128 * 2**20}  # the least that they take
_SIZE = 48 * 2**20
# As people leave it: comments, columns, and no end of line at the end.
FSTAB = """\
# <file system>  <mount point>  <type>  <options>  <dump> <pass>
proc             /proc          proc    defaults   0      0   # kept as it is
# swap was on /dev/sdb1 once"""


@dataclass(frozen=True)
class Machine:
    """A disk of a few MB, and a folder that stands for /etc.

    Args:
        disk: Where the disk is mounted.
        etc: The folder.
    """

    disk: Path
    etc: Path

    @property
    def swapfile(self) -> Path:
        """Where a swap file may lie."""
        return self.disk / "swapfile"

    @property
    def fstab(self) -> Path:
        """Its fstab."""
        return self.etc / "fstab"

    @property
    def settings(self) -> dict[str, object]:
        """What a target says of it: commands run on this machine, which may be a container."""
        return {"host_command_prefix": ["env"], "host_configuration": str(self.etc)}

    def swaps(self) -> bool:
        """Say whether the kernel swaps to its swap file."""
        return str(self.swapfile) in SWAPS.read_text()

    def look(self) -> dict[str, bytes]:
        """Give its files, but the disk's own."""
        return {
            str(one): one.read_bytes()
            for top in (self.disk, self.etc)
            for one in top.rglob("*")
            if one.is_file()
        }

    def starts_anew(self) -> None:
        """Do with its fstab what the start of a machine does with swap."""
        run("swapoff", str(self.swapfile))
        run("env", f"LIBMOUNT_FSTAB={self.fstab}", "swapon", "--all")


def run(*command: str) -> str:
    """Run a command that has to end well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _provide(filesystem: str) -> None:
    """Have the programs that make a disk with swap."""
    if os.geteuid():
        raise PreconditionFailed(
            expected="root, to make a disk with swap.", found="it is not.", todo="Run as root."
        )
    programs = {"swapon": "mount", f"mkfs.{filesystem}": _PACKAGES.get(filesystem, "e2fsprogs")}
    if missing := [one for one in programs if not shutil.which(one)]:
        with locked(Path(tempfile.gettempdir()) / "remedy-test-machines.lock"):
            install([programs[one] for one in missing], purpose="a disk with swap to test with")


@contextmanager
def machine(filesystem: str = "ext4") -> Iterator[Machine]:
    """Make one; whatever a test does to it, nothing of it stays, no swap either."""
    with or_missing():
        _provide(filesystem)
    _remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    swappiness = SWAPPINESS.read_text()
    try:
        made = Machine(folder / "disk", folder / "etc")
        made.disk.mkdir()
        (made.etc / "sysctl.d").mkdir(parents=True)
        made.fstab.write_text(FSTAB)
        with (image := folder / "image").open("wb") as file:
            file.truncate(_SIZES.get(filesystem, _SIZE))
        run(f"mkfs.{filesystem}", "-q", str(image))
        loop = ("mount", "-o", "loop", str(image), str(made.disk))
        mounted = subprocess.run(loop, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"needs a disk from a file: {mounted.stderr.strip()}")
        if filesystem != "btrfs" and (why := _why_no_swap(made.disk / "tried")):
            pytest.skip(f"needs a kernel that lets us swap: {why}")
        yield made
    finally:
        if SWAPPINESS.read_text() != swappiness:
            SWAPPINESS.write_text(swappiness)
        _remove(folder)


def _why_no_swap(tried: Path) -> str:
    """Try to swap; '' where that works."""
    with tried.open("wb") as file:
        file.write(bytes(2**20))
    tried.chmod(0o600)
    run("mkswap", str(tried))
    done = subprocess.run(["swapon", str(tried)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        run("swapoff", str(tried))
    tried.unlink()
    return done.stderr.strip()


def _remove(folder: Path) -> None:
    for line in SWAPS.read_text().splitlines():
        if line.startswith(f"{folder}/"):
            subprocess.run(["swapoff", line.split()[0]], check=False)
    while (folder / "disk").is_mount():
        run("umount", str(folder / "disk"))
    shutil.rmtree(folder)


def _remove_orphans() -> None:
    """Remove what test runs left that were killed."""
    temporary = Path(tempfile.gettempdir())
    with locked(temporary / f"{PREFIX}orphans.lock"):  # another worker of xdist removes them too
        for folder in temporary.glob(f"{PREFIX}*"):
            owner = folder.name.removeprefix(PREFIX).partition("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                _remove(folder)
