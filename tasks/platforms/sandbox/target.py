"""The sandbox as a target: a form of addresses in Prefect, and the capabilities behind it."""

from functools import cached_property
from pathlib import Path
from typing import ClassVar, NoReturn

from prefect.types import SecretDict
from pydantic import Field

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.platforms.local_host import LocalHost
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.sandbox.application import LocalApplication
from tasks.platforms.sandbox.cache_server import LocalCacheServer
from tasks.platforms.sandbox.disks import LocalDisks
from tasks.platforms.sandbox.processes import LocalProcesses
from tasks.platforms.sandbox.server import LocalServer
from tasks.platforms.target_form import TargetForm

_SERVER_SECONDS = 600.0  # initdb and a first start among them


class SandboxTarget(TargetForm):
    """A Planner that runs as local processes: PostgreSQL, Valkey, two processes, a proxy."""

    _block_type_name: ClassVar[str] = "Sandbox target"
    _block_type_slug: ClassVar[str] = "sandbox-target"
    _description: ClassVar[str] = "A system under care that runs as processes of this machine."

    secret_fields: ClassVar[frozenset[str]] = TargetForm.secret_fields | {"application_secrets"}
    named: ClassVar[tuple[str, ...]] = ("database",)  # its sessions carry the name

    known_as: str = Field(
        default="sandbox", description="Name of the target where its block is not saved under one."
    )
    host: str = Field(default="127.0.0.1", description="Address of the PostgreSQL server.")
    port: int = Field(default=5432, description="Port of the PostgreSQL server.")
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
    cache_host: str = Field(default="127.0.0.1", description="Address of Redis or Valkey.")
    cache_port: int = Field(default=6379, description="Port of Redis or Valkey.")
    cache_start_command: list[str] = Field(
        default_factory=list,
        description="Command that has a supervisor start the cache: systemctl start ...",
    )

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

    @property
    def machine(self) -> LocalHost:
        """This machine, on which its processes run.

        Raises:
            PreconditionFailed: We run in a container.
        """
        return LocalHost(self.host_command_prefix, self.host_configuration)

    @cached_property
    def processes(self) -> LocalProcesses:
        """The processes that serve the application."""
        return LocalProcesses(self.replicas)

    @cached_property
    def disks(self) -> LocalDisks:
        """The disks on which its data lies."""
        return LocalDisks(self.data_directory, self.backups_directory)

    @property
    def engine_store(self) -> NoReturn:
        """What an engine keeps.

        Raises:
            PreconditionFailed: Always.
        """
        raise PreconditionFailed(
            expected="a target that runs on a Docker engine.",
            found=f"{self.name} lacks that: it runs as processes of a machine.",
            todo="Nothing here; for what lies on its disks: remedy run measure-disk",
        )

    @property
    def cache_server(self) -> LocalCacheServer:
        """The server that the cache is on."""
        return LocalCacheServer(
            target=self.name,
            host=self.cache_host,
            port=self.cache_port,
            logins=self.cache_logins,
            start_command=self.cache_start_command,
            execute=lambda command: self.application.execute(command, {}, _SERVER_SECONDS),
        )

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
