"""The sandbox as a target: a form of addresses in Prefect, and the capabilities behind it."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, SecretStr

from tasks.guardrails.errors import Transient
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.protocols import MigrationSettings, ProbeAccount
from tasks.platforms.sandbox.application import LocalApplication
from tasks.platforms.sandbox.backups import LocalBackups
from tasks.platforms.sandbox.cache import RedisCache
from tasks.platforms.sandbox.secrets import LocalSecrets
from tasks.platforms.sandbox.server import LocalServer

_SERVER_SECONDS = 600.0  # initdb and a first start among them
SECRET = {"maintenance_password", "application_secrets", "cache_password", "probe_secret"}


class SandboxTarget(Block):
    """A Planner that runs as local processes: PostgreSQL, Valkey, two processes, a proxy."""

    _block_type_name: ClassVar[str] = "Sandbox target"
    _block_type_slug: ClassVar[str] = "sandbox-target"
    _description: ClassVar[str] = "A system under care that runs as processes of this machine."

    known_as: str = Field(
        default="sandbox", description="Name of the target where its block is not saved under one."
    )
    host: str = Field(default="127.0.0.1", description="Address of the PostgreSQL server.")
    port: int = Field(default=5432, description="Port of the PostgreSQL server.")
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
    data_directory: Path | None = Field(
        default=None,
        description="The server's data directory: to measure free disk, and to start the server.",
    )
    server_log: Path | None = Field(
        default=None, description="The server's log, where that is a file of this machine."
    )
    server_start_command: list[str] = Field(
        default_factory=list,
        description="Command that has a supervisor start the server: systemctl start ...",
    )
    server_stop_command: list[str] = Field(
        default_factory=list, description="Command that stops the server in order."
    )
    server_initialise_command: list[str] = Field(
        default_factory=list,
        description="Command that makes data folder, roles and an empty database where there are "
        "none, and starts the server.",
    )
    url: str = Field(description="URL at which users reach the application.")
    proxy_control_url: str = Field(description="URL of the proxy's control API.")
    application_directory: Path = Field(description="Folder that the application runs in.")
    application_programs: Path = Field(description="Folder of the application's programs.")
    application_environment: dict[str, str] = Field(
        default_factory=dict, description="Settings of the application that are no secrets."
    )
    application_secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Settings of the application that are secrets.",
    )
    environment_file: Path | None = Field(
        default=None, description="The application's `.env`: read anew each time, and edited."
    )
    replicas: dict[str, str] = Field(
        default_factory=dict,
        description="URL of each process of the application, past the proxy, by its name there.",
    )
    restart_command: list[str] = Field(
        default_factory=list,
        description="Command that restarts a process with the settings as they are then; "
        "{replica} stands for its name.",
    )
    secrets_directory: Path | None = Field(
        default=None, description="Folder for secrets that are made for this target."
    )
    backups_directory: Path = Field(description="Folder of the backups.")
    cache_host: str = Field(default="127.0.0.1", description="Address of Redis or Valkey.")
    cache_port: int = Field(default=6379, description="Port of Redis or Valkey.")
    cache_password: SecretStr = Field(
        default=SecretStr(""), description="Password of Redis or Valkey; empty for none."
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
        default=MigrationSettings(), description="How the application migrates its schema."
    )

    @property
    def name(self) -> str:
        """The target's name: that of its block where it is saved."""
        return self._block_document_name or self.known_as

    @name.setter
    def name(self, name: str) -> None:
        self._block_document_name = name
        self.__dict__.pop("database", None)  # its sessions carry the name

    @property
    def probe_password(self) -> str:
        """The probe account's password."""
        return self.probe_secret.get_secret_value()

    @cached_property
    def database(self) -> PostgreSQL:
        """The database under care."""
        return PostgreSQL(
            target=self.name,
            host=self.host,
            port=self.port,
            name=self.database_name,
            user=self.maintenance_user,
            password=self.maintenance_password.get_secret_value(),
            maintenance_database=self.maintenance_database,
            programs=self.programs,
            data_path=self.data_directory,
            log_path=self.server_log,
        )

    @cached_property
    def application(self) -> LocalApplication:
        """The web application."""
        secret = self.application_secrets.get_secret_value()
        return LocalApplication(
            url=self.url.rstrip("/"),
            control_url=self.proxy_control_url,
            directory=self.application_directory,
            programs=self.application_programs,
            environment={**self.application_environment, **secret},
            settings_file=self.environment_file,
            replicas=self.replicas,
            restart_command=self.restart_command,
        )

    @cached_property
    def server(self) -> LocalServer:
        """The server that the database is on."""
        return LocalServer(
            data=self.data_directory,
            log=self.server_log,
            host=self.host,
            port=self.port,
            programs=self.programs,
            commands={
                "start": self.server_start_command,
                "stop": self.server_stop_command,
                "initialise": self.server_initialise_command,
            },
            execute=lambda command: self.application.execute(command, {}, _SERVER_SECONDS),
        )

    @cached_property
    def secrets(self) -> LocalSecrets:
        """The store of secrets that are made for it."""
        return LocalSecrets(self.secrets_directory)

    @cached_property
    def backups(self) -> LocalBackups:
        """The store of backups."""
        return LocalBackups(self.backups_directory)

    @cached_property
    def cache(self) -> RedisCache:
        """The cache and the queues."""
        return RedisCache(
            host=self.cache_host,
            port=self.cache_port,
            password=self.cache_password.get_secret_value(),
            number=self.cache_database,
            namespace=self.cache_namespace,
            queues=self.queues,
        )

    def fingerprint(self) -> str:
        """Hash what the target resolves to, without secrets' values.

        Returns:
            sha256 over the canonical JSON of its fields.
        """
        fields = set(type(self).model_fields) - SECRET
        shown = self.model_dump(mode="json", include=fields)
        resolved = {"name": self.name, **{name: shown[name] for name in sorted(fields)}}
        text = json.dumps(resolved, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self) -> dict[str, str]:
        """Ask the server who it is.

        Returns:
            Its system identifier and version, and the name of the database. Not the database's
            OID: a cut-over gives the name to another database, and is no other system. Where
            it accepts no connections, what its control file says.

        Raises:
            Transient: It does not answer, and its control file is not on this machine.
            PreconditionFailed: It answers and refuses.
        """
        try:
            known = self.database.identity()
        except Transient:
            if self.data_directory is None:
                raise
            known = self.server.identity()
        return {**known, "database": self.database_name}

    def end_older(self, token: int) -> list[str]:
        """End our sessions of older fencing tokens on the server, and wait until they are gone.

        Args:
            token: The fencing token held now.

        Returns:
            A sentence for each session ended.
        """
        try:
            return self.database.end_older(token)
        except Transient:
            if not self.server.is_without_sessions():
                raise
            return []
