"""An engine's machine over ssh: its engine and its ports as sockets of this machine.

One ssh connects for all and ends with us; it leads a socket of ours to the engine's own. A port
gets a socket here of which each connection is the input and output of an `ssh -W`, which shares
that one's connection. What is asked shows nowhere in `ps`; keys and known hosts are those of ssh's
own configuration, and nobody is asked for anything.

Sources: ssh(1) (`-L`, `-M`, `-W`), ssh_config(5), proc_pid_net(5).
"""

import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import urlsplit

import docker
import psutil

from tasks.guardrails.errors import Transient
from tasks.platforms.compose.engine_words import told_of_ssh
from tasks.platforms.local_commands import DIE_WITH_PARENT

LOOPBACK = "127.0.0.1"
_ENGINE = "/var/run/docker.sock"
_OPTIONS = (
    *("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15"),
    *("ExitOnForwardFailure=yes", "StreamLocalBindUnlink=yes", "StreamLocalBindMask=0177"),
)
_PREFIX = "remedy-ssh-"
_UP_WITHIN_SECONDS = 30.0
_FRESH_SECONDS = 60.0
_SHOWN = 1000
_FRAME = re.compile(r"@{3,}|channel \d+: ")  # around warnings, before what a channel meets
_UID = 7  # which column of /proc/net/tcp


@dataclass(frozen=True)
class _Complaint:
    """What an ssh said that failed, and when by the monotonic clock in seconds."""

    what: str
    at: float


class OverSsh:
    """A machine that is reached by ssh.

    Args:
        url: Its address: ssh://user@host:port, and the engine's socket there as a path after it,
            where that is not /var/run/docker.sock.
        configuration: Configuration file of ssh; that of our user where not given.
    """

    def __init__(self, url: str, configuration: Path | None) -> None:
        """Keep where it is; connects to nothing."""
        parts = urlsplit(url)
        self._url, self._host = url, parts.hostname or ""
        self._engine = parts.path.rstrip("/") or _ENGINE
        self._to = [part for one in _OPTIONS for part in ("-o", one)]
        self._to += ["-F", str(configuration)] if configuration else []
        self._to += ["-l", parts.username] if parts.username else []
        self._to += ["-p", str(parts.port)] if parts.port else []
        self._lock = Lock()
        _clear_up()
        self._place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        atexit.register(_remove, self._place, os.getpid())
        self._shared: subprocess.Popen[bytes] | None = None
        self._complaints: dict[tuple[str, int], _Complaint] = {}
        self._ports: dict[tuple[str, int], int] = {}
        self.client: docker.DockerClient | None = None  # the one of our process

    def engine(self) -> str:
        """Give the URL of a socket here that leads to the engine there; connects where need be.

        Raises:
            PreconditionFailed: That machine does not let us in, or is not the one that is known.
            Transient: It is not reached.
        """
        with self._lock:
            if self._shared is None or self._shared.poll() is not None:
                self._connect()
        return f"unix://{self._place / 'engine'}"

    def port(self, host: str, port: int) -> tuple[str, int]:
        """Give address and port here that lead to ones there; our own user may connect alone.

        Args:
            host: The address as that machine has it.
            port: The port there.

        Raises:
            PreconditionFailed: The last ssh that went there was refused for good.
            Transient: It failed otherwise, or that machine is not reached.
        """
        known = self._complaints.pop((host, port), None)
        if known and time.monotonic() - known.at < _FRESH_SECONDS:
            raise told_of_ssh(known.what, f"{host}:{port} of {self._host}")
        self.engine()
        with self._lock:
            if (host, port) not in self._ports:
                listener = socket.create_server((LOOPBACK, 0))
                Thread(target=self._serve, args=(listener, (host, port)), daemon=True).start()
                self._ports[host, port] = listener.getsockname()[1]
            return LOOPBACK, self._ports[host, port]

    def complaint(self) -> str:
        """Take what the shared ssh has said since it was asked last: why a way is not open."""
        with suppress(FileNotFoundError), (self._place / "said").open("r+b") as said:
            words = _joined(said.read())
            said.truncate(0)
            return words
        return ""

    def _connect(self) -> None:
        """Start the ssh that all share, and wait until it leads to the engine's socket."""
        here = self._place / "engine"
        here.unlink(missing_ok=True)
        shared = ["-M", "-o", f"ControlPath={self._place / 'shared'}", "-o", "ControlPersist=no"]
        command = ["ssh", *shared, *self._to, "-N", "-L", f"{here}:{self._engine}", "--"]
        ending = [sys.executable, "-S", "-E", "-c", DIE_WITH_PARENT, str(os.getpid())]
        started: list[subprocess.Popen[bytes]] = []

        def hold() -> None:
            # From a thread that lives as long: the kernel ends it with the thread that started it.
            with (self._place / "said").open("ab") as said:
                process = subprocess.Popen(
                    [*ending, *command, self._host],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
            started.append(process)
            process.wait()

        Thread(target=hold, daemon=True).start()
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while True:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as tried:
                tried.connect(str(here))
                self._shared = started[0]
                return
            if started and started[0].poll() is not None:
                raise told_of_ssh(self.complaint(), f"the engine at {self._url}")
            if time.monotonic() > deadline:
                raise Transient(
                    expected=f"ssh to lead to the engine at {self._url}.",
                    found=f"it does not within {_UP_WITHIN_SECONDS:.0f} s. {self.complaint()}",
                    todo=f"Try `ssh {self._host} true` as the worker's user.",
                )
            time.sleep(0.02)

    def _serve(self, listener: socket.socket, to: tuple[str, int]) -> None:
        while True:
            there, _ = listener.accept()
            if _is_of_our_user(there):
                Thread(target=self._carry, args=(there, to), daemon=True).start()
            else:
                there.close()  # 127.0.0.1 is everybody's on this machine

    def _carry(self, there: socket.socket, to: tuple[str, int]) -> None:
        host, port = to
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        command = [*self._to, "-W", named, "--", self._host]
        with there:
            both = there.fileno()
            sharing = ["ssh", "-o", f"ControlPath={self._place / 'shared'}", *command]
            process = subprocess.Popen(
                sharing, stdin=both, stdout=both, stderr=subprocess.DEVNULL, start_new_session=True
            )
        if process.wait() > 0:
            # Who shares a connection is told nothing of the reason.
            said = _reason(["ssh", "-o", "ControlPath=none", *command])
            self._complaints[to] = _Complaint(said, time.monotonic())


@cache
def over_ssh(url: str, configuration: Path | None, pid: int) -> OverSsh:
    """Give the one way of a process to a machine.

    Args:
        url: Its address.
        configuration: Configuration file of ssh, or None.
        pid: Our process: a fork has none of our threads.
    """
    assert pid == os.getpid()  # noqa: S101 - it only tells forks apart
    return OverSsh(url, configuration)


def _reason(command: Sequence[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return _joined(done.stderr) if done.returncode else ""


def _joined(said: bytes) -> str:
    lines = _FRAME.sub(" ", said.decode(errors="replace")).splitlines()
    return " ".join(" ".join(dict.fromkeys(lines)).split())[-_SHOWN:]


def _is_of_our_user(there: socket.socket) -> bool:
    """Look up whose the other end of a connection is, by the kernel's table of connections."""
    theirs, ours = there.getpeername()[1], there.getsockname()[1]
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(one.rpartition(":")[2], 16) for one in fields[1:3]]
        if ports == [theirs, ours]:
            return int(fields[_UID]) == os.geteuid()
    return False


def _remove(place: Path, owner: int) -> None:
    if os.getpid() == owner:  # a fork ends, too
        shutil.rmtree(place, ignore_errors=True)


def _clear_up() -> None:
    """Remove the sockets of processes that were killed."""
    owned = re.compile(rf"{_PREFIX}(\d+)-")
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = owned.match(left.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(left, ignore_errors=True)
