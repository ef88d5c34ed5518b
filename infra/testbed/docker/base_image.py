"""The image that the others are laid on where no registry answers: a small Debian.

Sources: mmdebstrap(1); postgresql-common's createcluster.conf.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import docker

from infra.testbed.docker.debian import install
from infra.testbed.running import output_of

PACKAGES = ("postgresql", "redis-server", "nginx-light", "python3", "python-is-python3", "curl")
# Servers make their clusters when they start, and their programs are found as in other images.
HOOKS = (
    '--essential-hook=mkdir -p "$1/etc/postgresql-common"',
    '--essential-hook=echo create_main_cluster=off >"$1"/etc/postgresql-common/createcluster.conf',
    '--customize-hook=chroot "$1" sh -c "ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/"',
    '--customize-hook=rm -rf "$1"/usr/share/doc/* "$1"/usr/share/locale/* "$1"/usr/share/man/*',
)
_FAST = Path("/dev/shm")  # noqa: S108 - a file system in memory: half of the time goes to disks
_NEEDED_BYTES = 2_000_000_000


def provide_base(client: docker.DockerClient) -> str:
    """Give the base image of this machine's release of Debian, built once.

    Args:
        client: An engine that is ours.

    Returns:
        Its name.

    Raises:
        PreconditionFailed: It cannot be built; says why.
    """
    release = _release()
    recipe = hashlib.sha256("\n".join([release, *PACKAGES, *HOOKS]).encode()).hexdigest()[:12]
    name, tag = "remedy-base", f"{release}-{recipe}"
    if not client.images.list(f"{name}:{tag}"):
        if shutil.which("mmdebstrap") is None:
            install(["mmdebstrap"])
        roomy = _FAST.is_dir() and shutil.disk_usage(_FAST).free > _NEEDED_BYTES
        with tempfile.TemporaryDirectory(dir=_FAST if roomy else None) as folder:
            packed = Path(folder) / "base.tar"
            _bootstrap(release, packed)
            client.api.import_image_from_file(str(packed), repository=name, tag=tag)
    return f"{name}:{tag}"


def _release() -> str:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", "stable").strip('"')


def _bootstrap(release: str, packed: Path) -> None:
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *HOOKS]
    output_of(
        [*command, release, str(packed)],
        expected=f"mmdebstrap to make a small {release}.",
        todo="Correct what it names, or let the engine reach a registry of images.",
        environment={**os.environ, "TMPDIR": str(packed.parent)},
    )
