"""An engine that one test has for itself: killed, it takes nobody else's containers along.

It is in a network namespace of its own, as two engines in one would clear each other's rules of
the firewall away when they start. Its containers are reached by a route, its ports at an address.

Source: ip-netns(8), veth(4), nsenter(1), dockerd's manual (`default-address-pool`).
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from infra.testbed.docker.daemon import Daemon
from infra.testbed.docker.engine import Engine
from infra.testbed.running import output_of


@contextmanager
def engine_apart(
    cache: Path, like: Engine, images: Sequence[str]
) -> Iterator[tuple[Engine, Daemon]]:
    """Give an engine of its own while the block runs; nothing of it is left.

    Args:
        cache: Folder for what it keeps.
        like: An engine that has the images.
        images: Names of the images that it gets.

    Yields:
        The engine, and its process.

    Raises:
        PreconditionFailed: There cannot be one here; says why.
    """
    name, link = f"remedy-{os.getpid()}", f"remedy{os.getpid()}"
    ours, theirs, pool = _networks()
    # Not `ip netns exec`: its own /sys has no cgroups.
    within = ("nsenter", f"--net=/run/netns/{name}")
    daemon = Daemon(
        cache, within=within, options=("--default-address-pool", f"base={pool},size=27")
    )
    with ExitStack() as held:
        _run("ip", "netns", "add", name)
        held.callback(_run, "ip", "netns", "delete", name)
        for step in (
            f"ip link add {link} type veth peer name out netns {name}",
            f"ip address add {ours}/30 dev {link}",
            f"ip link set {link} up",
            f"ip -n {name} address add {theirs}/30 dev out",
            f"ip -n {name} link set out up",
            f"ip -n {name} link set lo up",
            f"ip route add {pool} via {theirs}",
        ):
            _run(*step.split())
        # Before dockerd does, which would drop what comes from outside as well.
        _run(*within, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        daemon.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        held.callback(_clear_up, daemon)
        daemon.start()
        _copy(like.url, daemon.url, images)
        yield Engine(daemon.url, is_ours=True, published_at=theirs), daemon


def _clear_up(daemon: Daemon) -> None:
    """Stop it, and unmount what one that was killed has left mounted."""
    daemon.stop()
    ours = (f"{daemon.data}", f"{daemon.run}")
    mounted = [one.mountpoint for one in psutil.disk_partitions(all=True)]
    for place in sorted((one for one in mounted if one.startswith(ours)), reverse=True):
        _run("umount", "--lazy", place)
    shutil.rmtree(daemon.run)


def _networks() -> tuple[str, str, str]:
    """Choose two addresses and a pool for this process, in the range for tests of networks.

    Source: RFC 2544, 198.18.0.0/15.
    """
    number = os.getpid() % 4096
    link = f"198.18.{number >> 6}."
    first = (number & 63) * 4
    return f"{link}{first + 1}", f"{link}{first + 2}", f"198.19.{number & 255}.0/24"


def _copy(source: str, goal: str, images: Sequence[str]) -> None:
    with subprocess.Popen(
        ["docker", "-H", source, "save", *images], stdout=subprocess.PIPE
    ) as saved:
        subprocess.run(
            ["docker", "-H", goal, "load"],
            stdin=saved.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _run(*command: str) -> None:
    output_of(
        command,
        expected=f"`{' '.join(command)}` to make an engine's network.",
        todo="Run it as root, where network namespaces may be made.",
    )
