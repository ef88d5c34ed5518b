"""Where a swap file may lie: its file system, its folder, and what the machine needs for it.

Sources: swapon(8), mkswap(8); btrfs(5), 'Swapfile support'.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.hosts import Host

_PROGRAMS = ("mkswap", "swapon", "swapoff", "swaplabel", "findmnt", "fallocate", "dd", "stat")
# How room is taken so that the file has no holes: at once, or by writing zeros into all of it.
_WAYS = {"ext4": "fallocate", "xfs": "fallocate", "ext3": "zeros", "ext2": "zeros"}
_XFS_SINCE = (4, 18)  # before that the kernel took what fallocate made on xfs for holes
_BTRFS = (
    "As root, with btrfs-progs 6.1, in a subvolume of its own of which no snapshots are made: "
    "btrfs subvolume create {folder}/swap && "
    "btrfs filesystem mkswapfile --size {size} {folder}/swap/swapfile && "
    "swapon {folder}/swap/swapfile"
)
_WHY_NOT = {
    "btrfs": "a file there must not be copied on write, lie on several devices or in a snapshot",
    "zfs": "swap on it comes to a standstill when memory is short",
    "tmpfs": "what lies there is memory itself",
    "ramfs": "what lies there is memory itself",
    "overlay": "it belongs to a container or a live system, and the kernel refuses swap there",
}
_OTHERS_WRITE = 0o022
_STICKY = 0o1000


@dataclass(frozen=True)
class Place:
    """A folder for a swap file.

    Args:
        filesystem: Its file system, as 'ext4'.
        source: What that lies on, as '/dev/sda1'.
        way: How room is taken there: 'fallocate' or 'zeros'.
        size: Size of the file system, in bytes.
        free: What is free of it.
    """

    filesystem: str
    source: str
    way: str
    size: int
    free: int


def insist_on_machine(host: Host) -> None:
    """Make sure that we may add swap to a machine.

    Raises:
        PreconditionFailed: A right or a program is missing, our commands see other paths than the
            machine, it is a container, or a node of Kubernetes that must not swap.
    """
    if host.run(["id", "-u"]).output.strip() != "0":
        raise PreconditionFailed(
            expected="commands that run as root on the machine.",
            found="they do not.",
            todo="Run the worker as root, or set `host_command_prefix` of the target to `sudo -n`.",
        )
    if _root_mount(host, "self") != _root_mount(host, "1"):
        raise PreconditionFailed(
            expected="commands in the machine's own mount namespace: swap is known by its path.",
            found="they run in another one, as those of a systemd unit with ProtectSystem= do.",
            todo="Set `host_command_prefix` of the target to `nsenter --target 1 --mount`, for a "
            "worker that runs as root.",
        )
    if (container := host.read("/run/systemd/container")) is not None:
        raise PreconditionFailed(
            expected="a machine with a kernel of its own.",
            found=f"a container ({container.strip()}): its swap is that of its host.",
            todo="Add swap on the host.",
        )
    look = 'for one in "$@"; do command -v "$one" >/dev/null || echo "$one"; done'
    if missing := host.run(["sh", "-c", look, "remedy", *_PROGRAMS]).output.split():
        raise PreconditionFailed(
            expected="the programs that make swap, on the machine.",
            found=f"no {', '.join(missing)}.",
            todo="Install util-linux and coreutils there.",
        )
    if host.run(["pgrep", "-x", "kubelet"]).status == 0:
        raise PreconditionFailed(
            expected="a machine that may have swap.",
            found="kubelet runs there: unless it was told otherwise it does not start on a machine "
            "with swap, and its pods are lost with it.",
            todo="Add memory or nodes; or set `failSwapOn: false` and `memorySwap` in the "
            "configuration of kubelet, and add swap by hand.",
        )


def _root_mount(host: Host, process: str) -> list[str]:
    """Give the numbers of the mounts at / as a process sees them: each namespace has its own."""
    lines = (host.read(f"/proc/{process}/mountinfo") or "").splitlines()
    return [line.split()[0] for line in lines if line.split()[4] == "/"]


def find_place(host: Host, path: str, size: int) -> Place:
    """Look at where a swap file shall lie.

    Args:
        host: The machine.
        path: The file, absolute.
        size: Its size in bytes, for what a person is told to run.

    Raises:
        PreconditionFailed: It may not lie there: says why.
    """
    pure = PurePosixPath(path)
    if str(pure) != path or ".." in pure.parts:
        raise _refused(path, "the path has detours in it", "Give it without `..`.")
    if host.run(["stat", path]).status == 0:
        raise _refused(path, "something is there", "Choose another path; nothing is overwritten.")
    folder = str(pure.parent)
    _insist_on_folders(host, path, [*map(str, reversed(pure.parent.parents)), folder])
    mounted = host.run(["findmnt", "-nro", "FSTYPE,SOURCE,OPTIONS", "-T", folder]).output
    if not mounted.strip():
        raise _refused(path, f"findmnt does not know on what {folder} lies", "Choose another path.")
    filesystem, source, options = mounted.splitlines()[-1].split(" ", 2)
    if filesystem not in _WAYS:
        why = _WHY_NOT.get(filesystem, "swap is not known to be safe there")
        todo = "Choose a path on ext4 or xfs."
        if filesystem == "btrfs":
            where = "" if folder == "/" else folder
            todo = _BTRFS.format(folder=where, size=f"{size // 2**20}M")
        raise _refused(path, f"{folder} lies on {filesystem}: {why}", todo)
    if "ro" in options.split(","):
        raise _refused(path, f"{source} can only be read", "Choose another path.")
    size, free = measure_disk(host, folder)
    return Place(
        filesystem, source, way_on(filesystem, host.run(["uname", "-r"]).output), size, free
    )


def way_on(filesystem: str, kernel: str) -> str:
    """Say how room is taken on a file system so that the kernel swaps there.

    Args:
        filesystem: The file system, as 'ext4'.
        kernel: The kernel's release, as '6.1.0-28-amd64'.
    """
    found = re.match(r"(\d+)\.(\d+)", kernel)
    is_old = found is None or tuple(map(int, found.groups())) < _XFS_SINCE
    return "zeros" if filesystem == "xfs" and is_old else _WAYS[filesystem]


def measure_disk(host: Host, folder: str) -> tuple[int, int]:
    """Measure a file system: its size, and what is free without root's reserve, in bytes."""
    said = host.run(["stat", "-f", "-c", "%S %b %a", folder])
    if said.status:
        raise _refused(folder, "it cannot be measured", "Look at it by hand.")
    block, blocks, free = map(int, said.output.split())
    return block * blocks, block * free


def _insist_on_folders(host: Host, path: str, folders: list[str]) -> None:
    """Make sure that nobody but root can put another file in its place."""
    said = host.run(["stat", "-c", "%u %a %F", *folders])
    if said.status:
        raise _refused(path, f"the folder {folders[-1]} is not there", "Make it, or choose another")
    for folder, line in zip(folders, said.output.splitlines(), strict=True):
        owner, mode, kind = line.split(" ", 2)
        if kind != "directory":
            raise _refused(path, f"{folder} is a {kind}", "Give the path that it leads to.")
        open_to_others = int(mode, 8) & _OTHERS_WRITE
        kept = int(mode, 8) & _STICKY and folder != folders[-1]
        if int(owner) or (open_to_others and not kept):
            raise _refused(
                path,
                f"others than root may write to {folder}: what is swapped out could be read",
                "Choose a folder of root's.",
            )


def _refused(path: str, why: str, todo: str) -> PreconditionFailed:
    return PreconditionFailed(
        expected=f"a place where a swap file can lie, for {path}.", found=f"{why}.", todo=todo
    )
