"""The Docker engine that tests use: the one that answers, else one of our own.

Ours is shared by every process that asks for it and stopped by the last: each holds a lock on one
file while it uses the engine, and the kernel lets a lock go when its holder is killed.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from infra.sandbox.settings import HOST
from infra.testbed.docker.daemon import Daemon
from infra.testbed.docker.debian import install
from tasks.guardrails.errors import PreconditionFailed

DEFAULT = "unix:///var/run/docker.sock"
_SECONDS = 120


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers.

    Args:
        url: Where, as unix:///run/docker.sock.
        is_ours: Whether it was made for tests: whatever is on it is theirs.
        published_at: Address of this machine's side at which it publishes ports.
    """

    url: str
    is_ours: bool
    published_at: str = HOST

    def client(self) -> docker.DockerClient:
        """Give a client of it."""
        return docker.DockerClient(base_url=self.url, timeout=_SECONDS)


@contextmanager
def engine(cache: Path) -> Iterator[Engine]:
    """Give an engine while the block runs.

    Args:
        cache: Folder that keeps our own engine's images from one run to the next.

    Yields:
        The engine of DOCKER_HOST or of this machine; where none answers, one of our own.

    Raises:
        PreconditionFailed: None answers, and there cannot be one here; says why.
    """
    there = find()
    if there is not None:
        yield there
        return
    if os.geteuid() != 0:
        raise PreconditionFailed(
            expected="a Docker engine that answers.",
            found=f"none at {os.environ.get('DOCKER_HOST') or DEFAULT}; only root may start one.",
            todo="Start Docker, or set DOCKER_HOST to an engine that runs.",
        )
    daemon = Daemon(cache)
    daemon.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (daemon.run / "users").open("a") as users:
        with locked(daemon.run / "lock"):
            installed = [] if daemon.is_installed() else install(daemon.PACKAGES)
            there = find() if installed else None  # the package may start one
            if there is None:
                fcntl.flock(users, fcntl.LOCK_SH)
                daemon.start()
        try:
            yield there or Engine(daemon.url, is_ours=True)
        finally:
            if there is None:
                with locked(daemon.run / "lock"):
                    _stop_if_unused(daemon, users.fileno())


def find() -> Engine | None:
    """Find the engine that DOCKER_HOST names, or the one of this machine; None where it is mute."""
    url = os.environ.get("DOCKER_HOST") or DEFAULT
    try:
        with closing(docker.DockerClient(base_url=url, timeout=_SECONDS)) as client:
            client.ping()
    except (DockerException, OSError):  # requests' errors are OSErrors
        return None
    return Engine(url, is_ours=False)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that one process has at a time; a killed one has it no more."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stop_if_unused(daemon: Daemon, users: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another process uses it
    daemon.stop()
