"""The cache's server as a process of this machine."""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.cache_servers import CacheLogin, CacheState
from tasks.platforms.redis_server import RedisServer
from tasks.platforms.whole_files import write_whole

_SECONDS = 2.0


class LocalCacheServer(RedisServer):
    """A Redis or Valkey server on this machine.

    Args:
        target: Name of the target.
        host: Its address.
        port: Its port.
        logins: Gives who may log in, whom to try first before the others.
        start_command: What has a supervisor start it; empty for none.
        execute: Runs a command of this machine.
    """

    def __init__(
        self,
        target: str,
        host: str,
        port: int,
        logins: Callable[[], Sequence[CacheLogin]],
        start_command: Sequence[str],
        execute: Callable[[Sequence[str]], Completed],
    ) -> None:
        """Keep where it is; asks nothing."""
        super().__init__(target, lambda: (host, port), logins)
        self._host, self._port = host, port
        self._start_command, self._execute = start_command, execute

    @property
    def address(self) -> tuple[str, str]:
        """Where the application reaches it: host and port."""
        return self._host, str(self._port)

    def is_called(self, host: str) -> bool:
        """Say whether a name or an address leads to the same machine.

        Args:
            host: What the application has.
        """
        try:
            found = [
                {info[4][0] for info in socket.getaddrinfo(name, None)}
                for name in (host, self._host)
            ]
        except OSError:
            return host == self._host
        return bool(found[0] & found[1])

    def state(self) -> CacheState:
        """Look whether somebody listens at its port."""
        try:
            with socket.create_connection((self._host, self._port), timeout=_SECONDS):
                return CacheState(runs=True, told="it listens")
        except ConnectionRefusedError:
            return CacheState(runs=False, told=f"nobody listens at {self._host}:{self._port}")
        except OSError as error:
            told = f"{self._host}:{self._port} is not reached: {error}"
            return CacheState(
                runs=False, told=told, hindrance="a machine or a network is in the way"
            )

    def start(self) -> None:
        """Have it started, unless it runs; does not wait until it answers.

        Raises:
            PreconditionFailed: The target names no command for it, or that fails.
        """
        if not self._start_command:
            raise PreconditionFailed(
                expected="a command to start the cache.",
                found="the target names none.",
                todo="Set `cache_start_command` of the target, or start it by hand.",
            )
        insist_on_fence()
        done = self._execute(self._start_command)
        if done.status:
            raise PreconditionFailed(
                expected=f"`{self._start_command[0]} ...` to start the cache.",
                found=f"it ended with status {done.status}.",
                state="The cache does not run.",
                todo="Run the target's `cache_start_command` by hand, and read what it says.",
            )

    def read_file(self, path: str) -> str:
        """Read a file of this machine.

        Args:
            path: Its path.

        Raises:
            PreconditionFailed: It cannot be read.
        """
        try:
            # As bytes: reading as text would turn the line ends of Windows into ours.
            return Path(path).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise _told(path, error) from error

    def finds_again(self, path: str) -> bool:
        """Say whether a file of this machine may be written to."""
        return os.access(path, os.W_OK)

    def write_file(self, path: str, text: str) -> None:
        """Write a file of this machine, whole or not at all.

        Args:
            path: Its path; it is there.
            text: What shall be in it.

        Raises:
            PreconditionFailed: It cannot be written to.
        """
        insist_on_fence()
        try:
            write_whole(Path(path), text.encode())
        except OSError as error:
            raise _told(path, error) from error

    def follows(self, variable: str, value: str) -> bool:  # noqa: ARG002 - as every platform takes it
        """Say that nothing of its start comes from the application's settings."""
        return False

    def takes(self, variable: str) -> bool:  # noqa: ARG002 - as every platform takes it
        """Say that nothing of its start comes from the application's settings."""
        return False

    def is_in_step(self) -> bool:
        """Say that its command stays what it is: the target's supervisor has it."""
        return True

    def remake(self) -> None:
        """Do nothing: its command stays what it is."""


def _told(path: str, error: OSError | UnicodeDecodeError) -> PreconditionFailed:
    return PreconditionFailed(
        expected=f"to read and write the cache's file {path}.",
        found=f"{type(error).__name__}: {getattr(error, 'strerror', '') or 'not UTF-8'}.",
        state="The file is as it was.",
        todo="Run the worker as the cache's user, or as root, on its machine.",
    )
