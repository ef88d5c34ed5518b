"""What the form of every target has in Prefect, whatever its platform."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from tasks.guardrails.errors import RemediationError
from tasks.platforms.applications import Application
from tasks.platforms.cache_servers import DEFAULT_USER, CacheLogin, CacheVariables
from tasks.platforms.lacking import Lacking
from tasks.platforms.local_backups import LocalBackups
from tasks.platforms.local_secrets import LocalSecrets
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import ProbeAccount
from tasks.platforms.redis_cache import RedisCache
from tasks.platforms.redis_server import RedisServer


class TargetForm(Lacking, Block):
    """A Planner under care."""

    secret_fields: ClassVar[frozenset[str]] = frozenset(
        {"maintenance_password", "cache_password", "probe_secret"}
    )
    # Capabilities that hold the target's name.
    named: ClassVar[tuple[str, ...]] = ()

    known_as: str = Field(
        default="planner", description="Name of the target where its block is not saved under one."
    )
    url: str = Field(description="URL at which users reach the application.")
    database_name: str = Field(default="planner", description="Name of the database under care.")
    maintenance_user: str = Field(
        default="planner_admin",
        description="Role of remediations: CREATEDB, member of the owner's role, no superuser.",
    )
    maintenance_password: SecretStr = Field(description="Password of the maintenance user.")
    maintenance_database: str = Field(
        default="postgres", description="Where commands run that name the database under care."
    )
    programs: Path | None = Field(
        default=None, description="Folder of pg_dump, psql, ...; searched for if empty."
    )
    secrets_directory: Path | None = Field(
        default=None, description="Folder for secrets that are made for this target."
    )
    backups_directory: Path = Field(description="Folder of the backups.")
    cache_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of Redis or Valkey; empty for the one in the application's settings.",
    )
    cache_user: str = Field(
        default="",
        description="User of remediations in Redis or Valkey, with the right to run ACL, CONFIG, "
        "INFO and CLIENT; empty for the application's.",
    )
    cache_variables: CacheVariables = Field(
        default=CacheVariables(),
        description="Names of the application's settings that say how it logs in to its cache.",
    )
    cache_database: int = Field(default=0, description="Number of the Redis database.")
    cache_namespace: str = Field(
        default="planner:", min_length=1, description="What the application's keys begin with."
    )
    queues: list[str] = Field(
        default=["planner:queue:reports"],
        description="Keys of the lists of waiting jobs; never cleared with the cache.",
    )
    probe_account: ProbeAccount | None = Field(
        default=None, description="Account and requests that prove the application from outside."
    )
    probe_secret: SecretStr = Field(
        default=SecretStr(""), description="Password of the probe account."
    )
    migrations: MigrationSettings | None = Field(
        default=MigrationSettings(),
        description="How the application migrates its schema, and for how long users may wait for "
        "a revision that has no approval of its own (`longest_stall_seconds`, 1 by default).",
    )

    host_command_prefix: list[str] = Field(
        default_factory=list,
        description="What stands before each command on the machine, as `sudo -n`.",
    )
    host_configuration: Path = Field(
        default=Path("/etc"),
        description="Folder of the machine's configuration as those commands see it: fstab, "
        "sysctl.d.",
    )

    @property
    def name(self) -> str:
        """The target's name: that of its block where it is saved."""
        return self._block_document_name or self.known_as

    @name.setter
    def name(self, name: str) -> None:
        self._block_document_name = name
        for held in self.named:
            self.__dict__.pop(held, None)

    @property
    def probe_password(self) -> str:
        """The probe account's password."""
        return self.probe_secret.get_secret_value()

    @cached_property
    def secrets(self) -> LocalSecrets:
        """The store of secrets that are made for it."""
        return LocalSecrets(self.secrets_directory)

    @cached_property
    def backups(self) -> LocalBackups:
        """The store of backups."""
        return LocalBackups(self.backups_directory)

    @property
    def application(self) -> Application:
        """The web application; each platform has its own."""
        raise NotImplementedError

    def with_gaps(self) -> Self:
        """Give it for who repairs its settings; here they can be read whatever is missing."""
        return self

    @property
    def cache_server(self) -> RedisServer:
        """The server that the cache is on; each platform has its own."""
        raise NotImplementedError

    def cache_logins(self) -> tuple[CacheLogin, ...]:
        """Give who may log in to the cache: the application as it is set now, and the target's own.

        Returns:
            In the order in which they are tried; the target's own first where it names a user.
        """
        own = CacheLogin(self.cache_user or DEFAULT_USER, self.cache_password.get_secret_value())
        try:
            now = self.application.settings()
        except RemediationError:  # the cache is reached without it, maybe
            return (own,)
        theirs = CacheLogin(
            now.get(self.cache_variables.user) or DEFAULT_USER,
            now.get(self.cache_variables.password, ""),
        )
        if self.cache_user:
            return (own, theirs)
        return (theirs, own) if theirs != own else (own,)

    @property
    def cache(self) -> RedisCache:
        """The cache and the queues."""
        return RedisCache(self.cache_server, self.cache_database, self.cache_namespace, self.queues)

    def fingerprint(self) -> str:
        """Hash what the target resolves to, without secrets' values.

        Returns:
            sha256 over the canonical JSON of its fields.
        """
        fields = set(type(self).model_fields) - self.secret_fields
        shown = self.model_dump(mode="json", include=fields)
        resolved = {"name": self.name, **{name: shown[name] for name in sorted(fields)}}
        text = json.dumps(resolved, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()
