"""The capability of a cache's server: sessions with it, its files, its start."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import redis
from pydantic import BaseModel, ConfigDict, Field

DEFAULT_USER = "default"


class CacheVariables(BaseModel):
    """Names of the application's settings that say how it logs in to its cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="REDIS_HOST", description="The setting with the server's address.")
    port: str = Field(default="REDIS_PORT", description="The setting with its port.")
    number: str = Field(default="REDIS_DB", description="The setting with the database's number.")
    user: str = Field(default="", description="The setting with the user; empty for none.")
    password: str = Field(default="REDIS_PASSWORD", description="The setting with the password.")


@dataclass(frozen=True)
class CacheLogin:
    """Who logs in to a cache.

    Args:
        user: Name of the user.
        password: The password; '' to log in without one.
    """

    user: str = DEFAULT_USER
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class CacheState:
    """How a cache's server stands, seen from outside of it.

    Args:
        runs: Whether somebody listens there.
        told: How it stands, in words.
        hindrance: What keeps it from just being started; '' for nothing.
    """

    runs: bool
    told: str
    hindrance: str = ""


class CacheServer(Protocol):
    """The Redis or Valkey server that the application's cache is on."""

    @property
    def name(self) -> str:
        """Where it is, in words."""

    @property
    def address(self) -> tuple[str, str]:
        """Where the application reaches it: host and port."""

    def is_called(self, host: str) -> bool:
        """Say whether a name or an address leads the application to its machine."""

    def state(self) -> CacheState:
        """Look whether it runs; no login is needed."""

    def start(self) -> None:
        """Have it started as it was last, unless it runs; does not wait until it answers.

        Raises:
            PreconditionFailed: The target has no command for it, or that fails.
        """

    def connect(self, number: int = 0) -> "AbstractContextManager[redis.Redis]":
        """Log in as remediations do; answers come as text, errors are ours.

        Args:
            number: Number of the database.

        Raises:
            Transient: It does not answer.
            PreconditionFailed: It answers and refuses.
        """

    def log_in(
        self, login: CacheLogin, host: str | None = None, port: str | None = None, number: int = 0
    ) -> "AbstractContextManager[redis.Redis]":
        """Log in as somebody else, as the application does.

        Args:
            login: Who.
            host: The address that the application has; the server's own by default.
            port: The same of the port.
            number: Number of the database.

        Raises:
            Transient: It does not answer.
            PreconditionFailed: It answers and refuses.
        """

    def read_file(self, path: str) -> str:
        """Read a file where the server runs, by its path there.

        Raises:
            PreconditionFailed: It cannot be read from here.
        """

    def finds_again(self, path: str) -> bool:
        """Say whether its next start finds such a file as it is written here."""

    def write_file(self, path: str, text: str) -> None:
        """Write such a file, which is there, whole or not at all; owner and rights stay.

        Raises:
            PreconditionFailed: It cannot be written to from here.
        """

    def follows(self, variable: str, value: str) -> bool:
        """Say whether its command or environment has a value from a variable of `.env`."""

    def takes(self, variable: str) -> bool:
        """Say whether its next start gives it something from a variable of `.env`."""

    def is_in_step(self) -> bool:
        """Say whether it was started with what its command and environment are by now."""

    def remake(self) -> None:
        """Have it started anew with what its command and environment are by now; data stays.

        Raises:
            PreconditionFailed: It does not come up.
        """


class Cache(Protocol):
    """The application's cache and queues."""

    @property
    def number(self) -> int:
        """Number of the database."""

    @property
    def namespace(self) -> str:
        """What the names of the application's keys begin with."""

    @property
    def queues(self) -> tuple[str, ...]:
        """Keys of the lists that hold waiting jobs."""

    def clear(self) -> int:
        """Clear the application's namespace only; returns how many keys went."""

    def count(self) -> int:
        """Count the keys of the application's namespace."""

    def queued(self) -> dict[str, int]:
        """Give the jobs waiting in each queue by its name."""


class OnCacheServer(Protocol):
    """The part of a target that has a cache's server."""

    cache_variables: CacheVariables

    @property
    def cache_server(self) -> CacheServer:
        """The server that the application's cache is on."""
