"""The cache's server as a process of this machine."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.cache_servers import CacheLogin
from tasks.platforms.redis_server import RedisServer
from tasks.platforms.whole_files import write_whole


class LocalCacheServer(RedisServer):
    """A Redis or Valkey server on this machine.

    Args:
        target: Name of the target.
        host: Its address.
        port: Its port.
        logins: Gives who may log in, whom to try first before the others.
    """

    def __init__(
        self, target: str, host: str, port: int, logins: Callable[[], Sequence[CacheLogin]]
    ) -> None:
        """Keep where it is; asks nothing."""
        super().__init__(target, lambda: (host, port), logins)

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
