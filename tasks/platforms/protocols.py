"""Capabilities of a target, as the subjects see them; a platform has those that it can."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import psycopg
from pydantic import BaseModel, ConfigDict, Field

from tasks.guardrails.systems import SystemFacts
from tasks.platforms.access_logs import Logging
from tasks.platforms.applications import Application
from tasks.platforms.cache_servers import Cache, OnCacheServer
from tasks.platforms.containers import Contained
from tasks.platforms.definitions import Defined
from tasks.platforms.disks import OnDisks
from tasks.platforms.hosts import Hosted
from tasks.platforms.images import BuildsImages
from tasks.platforms.memory import Limited
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.networks import Networked
from tasks.platforms.printed_logs import PrintedLog
from tasks.platforms.processes import OfProcesses
from tasks.platforms.scaling import Scaled
from tasks.platforms.servers import Server
from tasks.platforms.trials import OnTrial

Connection = psycopg.Connection[dict[str, Any]]


class Request(BaseModel):
    """A request of the probe account, with placeholders like `{token}` in any string.

    `{username}`, `{password}`, `{unique}` (differs each time) and what `capture` names are given.
    """

    model_config = ConfigDict(extra="forbid")

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(description="HTTP method.")
    path: str = Field(description="Path below the application's URL.")
    body: dict[str, Any] | None = Field(default=None, description="JSON body.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers.")
    status: int = Field(default=200, description="The status that a working system answers.")
    capture: dict[str, str] = Field(
        default_factory=dict, description="Placeholder name -> dotted path in the JSON answer."
    )
    expect: dict[str, str] = Field(
        default_factory=dict, description="Dotted path in the answer -> value it must have."
    )


class ProbeAccount(BaseModel):
    """An account of the application, and the requests that prove it works from outside."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(description="Name of an account made for probing.")
    login: Request = Field(description="Logs in; captures what later requests need.")
    read: list[Request] = Field(description="Reads known rows, past the cache.")
    write: Request | None = Field(default=None, description="Creates a row.")
    read_back: Request | None = Field(default=None, description="Reads the row created.")
    delete: Request | None = Field(default=None, description="Deletes the row created.")


class Database(Protocol):
    """A PostgreSQL database under care."""

    name: str
    maintenance_database: str

    @property
    def address(self) -> tuple[str, str]:
        """Where the application reaches the server: host and port."""

    def connect(
        self, database: str | None = None, *, autocommit: bool = True, **settings: str
    ) -> Connection:
        """Connect as the maintenance user; rows come as dictionaries.

        The session carries `application_name=remedy:<target>:<token>`: a successor can end it.

        Args:
            database: Name of the database; the one under care by default.
            autocommit: Whether each statement is its own transaction.
            settings: Server settings of the session, as lock_timeout='300ms'; 5 s by default.

        Raises:
            Transient: The server does not answer.
            PreconditionFailed: It answers and refuses.
        """

    def log_in(
        self,
        user: str,
        password: str,
        database: str | None = None,
        host: str | None = None,
        port: str | None = None,
    ) -> Connection:
        """Connect as somebody else, as the application does.

        Raises:
            Transient: The server does not answer.
            PreconditionFailed: It answers and refuses.
        """

    def environment(self, database: str | None = None, user: str | None = None) -> dict[str, str]:
        """Give the libpq environment (PGHOST, ...) for a client program: no secret in `ps`."""

    def program(self, name: str) -> Path:
        """Find a client program (pg_dump, psql, ...) that fits the server.

        Raises:
            PreconditionFailed: There is none; says where it was looked for.
        """

    def free_bytes(self) -> int | None:
        """Measure the free bytes where the server keeps its data; None where unknowable."""

    def log_file(self) -> Path | None:
        """Give the server's log where it is a file of this machine; None elsewhere."""

    def printed_log(self) -> PrintedLog | None:
        """Give what the server prints, where somebody keeps that; None elsewhere."""


@dataclass(frozen=True)
class StoredBackup:
    """A file or folder in a target's store of backups."""

    name: str
    size: int
    modified: datetime
    is_directory: bool


class Backups(Protocol):
    """Where a target keeps its backups."""

    def list(self) -> list[StoredBackup]:
        """List everything in the store, newest first."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give a backup as a local path, fetched where it is not on this machine."""

    def store(self, path: Path, name: str) -> None:
        """Put a local file or folder into the store under a name, whole or not at all."""

    def remove(self, name: str) -> None:
        """Remove a backup; missing is fine."""

    def discard(self, name: str, box: str) -> None:
        """Move a backup out of the list into a box of the store's trash; moved already is fine."""

    def bring_back(self, name: str, box: str) -> None:
        """Move a backup from a box of the trash back; brought back already is fine."""

    def discarded(self) -> dict[str, dict[str, int]]:
        """List the trash: the bytes of each backup by its name, by the name of its box."""

    def destroy(self, box: str) -> None:
        """Remove a box of the trash for good; missing is fine."""


class Secrets(Protocol):
    """Where a target keeps secrets that are made for it, each under a name and never changed."""

    def keep(self, name: str, values: Mapping[str, str]) -> None:
        """Keep values under a name; kept already is fine, and what was kept stays."""

    def read(self, name: str) -> dict[str, str] | None:
        """Read the values under a name; None where there are none."""

    def forget(self, name: str) -> None:
        """Remove what is kept under a name; missing is fine."""


class System(
    SystemFacts,
    BuildsImages,
    Contained,
    Defined,
    Hosted,
    Limited,
    Logging,
    Networked,
    OnCacheServer,
    OnDisks,
    OfProcesses,
    OnTrial,
    Scaled,
    Protocol,
):
    """A target with its capabilities; one that it lacks raises PreconditionFailed."""

    @property
    def database(self) -> Database:
        """The database under care."""

    @property
    def server(self) -> Server:
        """The server that the database is on: its process and its data folder."""

    @property
    def application(self) -> Application:
        """The web application that uses it."""

    def with_gaps(self) -> Self:
        """Give it for who repairs its settings: they are read though some of them are missing.

        Everybody else is refused where nothing could be started with them.
        """

    @property
    def backups(self) -> Backups:
        """Where its backups are."""

    @property
    def secrets(self) -> Secrets:
        """Where secrets are kept that are made for it."""

    @property
    def cache(self) -> Cache:
        """The application's cache and queues."""

    @property
    def probe_account(self) -> ProbeAccount | None:
        """The account and requests that prove it from outside, if there are any."""

    @property
    def probe_password(self) -> str:
        """The probe account's password."""

    @property
    def migrations(self) -> MigrationSettings | None:
        """How the application migrates its schema, if it does."""
