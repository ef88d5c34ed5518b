"""The form of a compose project as a target: its addresses and names, in Prefect."""

from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.project import ComposeFiles, Project
from tasks.platforms.compose_programs import RELEASE, SHA256
from tasks.platforms.target_form import TargetForm


class ComposeForm(TargetForm):
    """Where a compose project is, what its services are called, and its engine."""

    known_as: str = Field(
        default="compose", description="Name of the target where its block is not saved under one."
    )
    project_directory: Path = Field(description="Folder of the project, with its compose files.")
    project_name: str = Field(
        default="planner",
        min_length=1,
        description="Name of the project, as in the label com.docker.compose.project.",
    )
    compose_files: list[str] = Field(
        default=["docker-compose.yml"],
        min_length=1,
        description="Compose files in that folder, each laid over those before it.",
    )
    profiles: list[str] = Field(default_factory=list, description="Profiles that are in use.")
    compose_command: list[str] = Field(
        default=["docker", "compose"],
        min_length=1,
        description="The compose program: `docker compose`, or `docker-compose` of version 1.",
    )
    compose_environment: dict[str, str] = Field(
        default_factory=dict,
        description="Variables that the compose program is called with, as DOCKER_CONFIG.",
    )
    compose_release: str = Field(
        default="",
        pattern=RELEASE,
        description="Path or URL of the compose program that the project shall be managed by, for "
        "update_docker_compose.",
    )
    compose_release_sha256: str = Field(
        default="",
        pattern=SHA256,
        description="Its SHA-256, as compose's release page has it.",
    )
    engine_url: str = Field(
        default="unix:///var/run/docker.sock",
        pattern=r"^(unix|ssh|tcp)://",
        description="Address of the engine: unix://, ssh://user@host or tcp://host:2376; behind "
        "ssh://user@host the path of its socket there, where not /var/run/docker.sock.",
    )
    engine_certificates: Path | None = Field(
        default=None,
        description="Folder of ca.pem, cert.pem and key.pem, for an engine at tcp://, which has to "
        "ask for them.",
    )
    engine_ssh_config: Path | None = Field(
        default=None,
        description="Configuration file of ssh, for an engine at ssh://; that of the worker's "
        "user where not given.",
    )
    database_service: str = Field(default="db", description="Service of the PostgreSQL server.")
    cache_service: str = Field(default="redis", description="Service of Redis or Valkey.")
    application_service: str = Field(default="app", description="Service of the application.")
    proxy_service: str = Field(
        default="nginx", description="Service of nginx before the application; empty for none."
    )
    proxy_configuration: Path = Field(
        default=Path("nginx/nginx.conf"),
        description="nginx's configuration in the project's folder: it names the application as "
        "service:port, and is written to while that is restarted.",
    )
    application_port: int = Field(
        default=8000, description="Port that the application listens at in its container."
    )
    health_path: str = Field(
        default="/health", description="Path at which a container that serves answers."
    )
    environment_file: Path = Field(
        default=Path(".env"),
        description="The project's `.env`, in its folder: read anew each time, and edited.",
    )

    @model_validator(mode="after")
    def _release_has_a_checksum(self) -> Self:
        if bool(self.compose_release) != bool(self.compose_release_sha256):
            message = (
                "`compose_release` and `compose_release_sha256` are given together, or neither"
            )
            raise ValueError(message)
        return self

    @cached_property
    def engine(self) -> Engine:
        """The engine that it runs on."""
        return Engine(self.engine_url, self.engine_certificates, self.engine_ssh_config)

    @cached_property
    def project(self) -> Project:
        """The compose project."""
        files = ComposeFiles(
            folder=self.project_directory,
            name=self.project_name,
            files=tuple(self.compose_files),
            profiles=tuple(self.profiles),
            command=tuple(self.compose_command),
            environment=self.compose_environment,
        )
        return Project(files, self.engine)
