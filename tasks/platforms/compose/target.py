"""A compose project as a target: the capabilities behind its form."""

from functools import cached_property
from typing import ClassVar, Self

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.platforms.compose.application import commands
from tasks.platforms.compose.application.access_log import ComposeAccessLog
from tasks.platforms.compose.application.application import ComposeApplication
from tasks.platforms.compose.application.processes import ComposeProcesses
from tasks.platforms.compose.application.proxy import ComposeProxy
from tasks.platforms.compose.application.scaling import ComposeScaling
from tasks.platforms.compose.cache_server import ComposeCacheServer
from tasks.platforms.compose.containers.containers import ComposeContainers
from tasks.platforms.compose.containers.trials import ComposeTrials
from tasks.platforms.compose.database import ComposeDatabase
from tasks.platforms.compose.definition import ComposeDefinition
from tasks.platforms.compose.disk.disks import ComposeDisks
from tasks.platforms.compose.disk.store import ComposeStore
from tasks.platforms.compose.form import ComposeForm
from tasks.platforms.compose.gaps import ProjectWithGaps
from tasks.platforms.compose.images.images import ComposeImages
from tasks.platforms.compose.images.trial import Serving
from tasks.platforms.compose.memory import ComposeMemory
from tasks.platforms.compose.network.network import ComposeNetwork, Names
from tasks.platforms.compose.project import Project
from tasks.platforms.compose.server.first_roles import FirstRoles, Login, login_in, superuser_of
from tasks.platforms.compose.server.server import ComposeServer
from tasks.platforms.local_host import LocalHost

_CACHE_PORT = 6379


class ComposeTarget(ComposeForm):
    """A Planner that runs as a compose project on a Docker engine."""

    _block_type_name: ClassVar[str] = "Compose target"
    _block_type_slug: ClassVar[str] = "compose-target"
    _description: ClassVar[str] = "A system under care that runs as a compose project."

    # Their containers carry the name.
    named: ClassVar[tuple[str, ...]] = ("application", "server")

    @property
    def database(self) -> ComposeDatabase:
        """The database under care; where its container is now is asked when it is needed."""
        return ComposeDatabase(
            self.engine,
            lambda: self.project.container(self.database_service),
            self.name,
            self.database_name,
            self.maintenance_user,
            self.maintenance_password.get_secret_value(),
            self.maintenance_database,
            self.programs,
        )

    @cached_property
    def application(self) -> ComposeApplication:
        """The web application."""
        return self._application_of(self.project)

    def with_gaps(self) -> Self:
        """Give it with settings that are read though compose refuses for what is missing."""
        seen = self.model_copy()
        seen.__dict__["application"] = self._application_of(
            ProjectWithGaps(self.project.files, self.engine)
        )
        return seen

    def _application_of(self, project: Project) -> ComposeApplication:
        return ComposeApplication(
            url=self.url.rstrip("/"),
            target=self.name,
            project=project,
            service=self.application_service,
            proxy=self._proxy(),
            port=self.application_port,
            health_path=self.health_path,
            settings_file=self.project_directory / self.environment_file,
        )

    @cached_property
    def definition(self) -> ComposeDefinition:
        """The compose files."""
        wanted = (self.compose_release, self.compose_release_sha256)
        return ComposeDefinition(self.project, wanted)

    @cached_property
    def images(self) -> ComposeImages:
        """The images that it builds."""
        serving = Serving(self.application_service, self.application_port, self.health_path)
        return ComposeImages(self.project, self.name, serving)

    @cached_property
    def memory(self) -> ComposeMemory:
        """The limits of memory of its services."""
        return ComposeMemory(self.project)

    @property
    def network(self) -> ComposeNetwork:
        """The ports of its services."""
        names = Names(
            application=self.application_service,
            application_port=self.application_port,
            health_path=self.health_path,
            database=self.database_service,
            cache=self.cache_service,
            proxy=self.proxy_service,
        )
        prefix = tuple(self.host_command_prefix)
        return ComposeNetwork(self.project, names, self._proxy(), prefix)

    @property
    def machine(self) -> LocalHost:
        """The machine that its engine runs on, where that is this one.

        Raises:
            PreconditionFailed: It is another one.
        """
        if not self.engine.is_local:
            raise PreconditionFailed(
                expected="a worker on the machine of the engine.",
                found=f"the engine is at {self.engine_url}: another machine.",
                todo="Run a worker there, with a target whose `engine_url` is its socket.",
            )
        return LocalHost(self.host_command_prefix, self.host_configuration)

    @cached_property
    def scaling(self) -> ComposeScaling:
        """How many containers serve the application."""
        return ComposeScaling(
            self.project,
            self.application_service,
            self._proxy(),
            self.application_port,
            self.health_path,
        )

    @cached_property
    def processes(self) -> ComposeProcesses:
        """The processes that serve the application."""
        return ComposeProcesses(self.project, self.application_service)

    @cached_property
    def access_log(self) -> ComposeAccessLog:
        """The log of requests."""
        return ComposeAccessLog(self.project, self.proxy_service)

    @cached_property
    def containers(self) -> ComposeContainers:
        """The containers of its services."""
        return ComposeContainers(self.project)

    @property
    def trials(self) -> ComposeTrials:
        """Commands in its containers."""
        return ComposeTrials(self.project, self.name)

    def _proxy(self) -> ComposeProxy | None:
        if not self.proxy_service:
            return None
        file = self.project_directory / self.proxy_configuration
        upstream = f"{self.application_service}:{self.application_port}"
        return ComposeProxy(self.project, self.proxy_service, file, upstream)

    @cached_property
    def server(self) -> ComposeServer:
        """The server that the database is on: its container, and the data in its volume."""
        return ComposeServer(
            target=self.name,
            project=self.project,
            service=self.database_service,
            database=lambda: self.database,
            roles=self._first_roles,
        )

    def _first_roles(self) -> FirstRoles:
        named = self.migrations.environment if self.migrations else {}
        return FirstRoles(
            superuser=superuser_of(self.project, self.database_service),
            maintenance=Login(self.maintenance_user, self.maintenance_password.get_secret_value()),
            application=login_in(self.application.settings(), named),
        )

    @cached_property
    def engine_store(self) -> ComposeStore:
        """What its engine keeps on its disk."""
        return ComposeStore(self.project)

    @property
    def disks(self) -> ComposeDisks:
        """The disks on which its data lies."""
        return ComposeDisks(
            self.project, self.database_service, self.backups_directory, self.engine_store.root
        )

    @property
    def cache_server(self) -> ComposeCacheServer:
        """The server that the cache is on, where its container is now."""
        return ComposeCacheServer(self.name, self.project, self.cache_service, self.cache_logins)

    def identity(self) -> dict[str, str]:
        """Ask engine and server who they are.

        Returns:
            The engine's id, the project, the server's system identifier and version, and the
            name of the database. Where the server accepts no connections, what its control file
            says.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: One of them answers and refuses.
        """
        try:
            known = self.database.identity()
        except Transient:
            known = self.server.identity()
        return {
            **known,
            "database": self.database_name,
            "engine": self.engine.identity(),
            "project": self.project_name,
        }

    def end_older(self, token: int) -> list[str]:
        """End sessions and commands of older fencing tokens, and wait until they are gone.

        Args:
            token: The fencing token held now.

        Returns:
            A sentence for each that was ended.
        """
        ended = commands.end_older(self.engine, self.project_name, self.name, token)
        ended += self.application.end_idle_stand_ins(token)
        try:
            return [*ended, *self.database.end_older(token)]
        except Transient:
            if not self.server.is_without_sessions():
                raise
            return ended
