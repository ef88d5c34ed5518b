"""What sandbox and compose project have in common, for whoever fills, breaks or reads one."""

from pathlib import Path
from typing import Any, Protocol

import psycopg
import redis

from infra.sandbox.settings import SandboxSettings


class DatabaseFiles(Protocol):
    """The files of a database's server."""

    @property
    def data(self) -> Path:
        """The folder of its data."""

    @property
    def runs(self) -> bool:
        """Whether the server's process is there."""

    def stop(self) -> None:
        """Stop the server in good order."""

    def kill(self) -> None:
        """End the server at once, as `kill -9` does, and wait until its last process has ended."""


class Planner(Protocol):
    """A whole system under care that a test may break."""

    settings: SandboxSettings
    backups: Path
    secrets: Path
    dotenv: Path

    @property
    def cluster(self) -> DatabaseFiles:
        """The database's server."""

    @property
    def url(self) -> str:
        """Where users reach the application."""

    def up(self) -> None:
        """Start what does not run, and wait until all of it answers."""

    def connect(self, database: str | None = None) -> "psycopg.Connection[tuple[Any, ...]]":
        """Connect to a database as the superuser."""

    def cache(self) -> "redis.Redis":
        """Connect to the cache."""

    def application_environment(self) -> dict[str, str]:
        """Give the application's settings as they lead there from this machine."""

    def target_settings(self, *, limited: bool = False) -> dict[str, Any]:
        """Give the fields of the block that stands for it."""
